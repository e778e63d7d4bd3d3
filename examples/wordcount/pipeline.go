package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/top"
)

// Beam calls DoFns by name on its workers, so each must be registered; the
// register package also generates calls that need no reflection.
func init() {
	register.Function2x1(listFiles)
	register.DoFn3x0[context.Context, string, func(string, int)](&extractWords{})
	register.Function2x1(toWordCount)
	register.Function2x1(lessFrequent)
	register.Function1x0(printWords)
	register.Function2x1(formatCount)
	register.Emitter1[string]()
	register.Emitter2[string, int]()
}

// CountWords reads all text files below input, which is a directory or a glob,
// and returns how often each word occurs: a PCollection<KV<string,int>>.
//
// Files are read by textio, a splittable source: many files are read at the
// same time, and a runner can split the rest of a large one.
func CountWords(s beam.Scope, input string) beam.PCollection {
	s = s.Scope("CountWords")
	globs := beam.Create(s, input)
	files := beam.ParDo(s, listFiles, globs)
	lines := textio.ReadAll(s, files)
	words := beam.ParDo(s, &extractWords{}, lines)
	return stats.SumPerKey(s, words)
}

// PrintTop prints the n most frequent words, best first. It prints where the
// DoFn runs: with an embedded runner, and with a LOOPBACK environment, that is
// this process.
func PrintTop(s beam.Scope, counts beam.PCollection, n int) {
	s = s.Scope("PrintTop")
	words := beam.ParDo(s, toWordCount, counts)
	best := top.Largest(s, words, n, lessFrequent)
	beam.ParDo0(s, printWords, best)
}

// Write writes one line for each word to a file, in no particular order.
func Write(s beam.Scope, counts beam.PCollection, file string) {
	s = s.Scope("Write")
	textio.Write(s, file, beam.ParDo(s, formatCount, counts))
}

// textFiles are the extensions that are looked for below a directory.
var textFiles = []string{".go", ".html", ".md", ".txt"}

// listFiles emits the paths of the text files below input if that is a
// directory, and input itself otherwise: textio expands globs.
func listFiles(input string, emit func(string)) error {
	if strings.ContainsAny(input, `*?[`) {
		emit(input)
		return nil
	}
	return filepath.WalkDir(input, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() && slices.Contains(textFiles, filepath.Ext(path)) {
			emit(path)
		}
		return nil
	})
}

var (
	linesRead = beam.NewCounter("wordcount", "lines")
	wordsRead = beam.NewCounter("wordcount", "words")
)

// extractWords emits each word of a line in lower case, with the count 1. A
// word is a run of letters.
type extractWords struct{}

func (*extractWords) ProcessElement(ctx context.Context, line string, emit func(string, int)) {
	words := int64(0)
	for word := range strings.FieldsFuncSeq(line, isNoLetter) {
		emit(strings.ToLower(word), 1)
		words++
	}
	linesRead.Inc(ctx, 1)
	wordsRead.Inc(ctx, words)
}

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// WordCount is a word and how often it occurs.
type WordCount struct {
	Word  string
	Count int
}

func toWordCount(word string, count int) WordCount { return WordCount{Word: word, Count: count} }

// lessFrequent orders words by count. Of equally frequent words the first of
// the alphabet wins, so that the result is the same on every run.
func lessFrequent(a, b WordCount) bool {
	if a.Count != b.Count {
		return a.Count < b.Count
	}
	return a.Word > b.Word
}

func printWords(words []WordCount) {
	for _, w := range words {
		fmt.Printf("%9d  %s\n", w.Count, w.Word)
	}
}

func formatCount(word string, count int) string { return fmt.Sprintf("%s\t%d", word, count) }
