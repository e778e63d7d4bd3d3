package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// countWords counts the words of a directory's text files without Beam, as
// examples/wordcount defines them.
func countWords(dir string) (map[string]int, error) {
	counts := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() || !slices.Contains([]string{".go", ".html", ".md", ".txt"}, filepath.Ext(path)) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for word := range strings.FieldsFuncSeq(string(b), func(r rune) bool { return !unicode.IsLetter(r) }) {
			counts[strings.ToLower(word)]++
		}
		return nil
	})
	return counts, err
}

// compareWords checks a file of lines "word TAB count".
func compareWords(file string, want map[string]int) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	seen := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		word, count, _ := strings.Cut(lines.Text(), "\t")
		n, err := strconv.Atoi(count)
		if err != nil {
			return fmt.Errorf("the line %q has no count", lines.Text())
		}
		if want[word] != n {
			return fmt.Errorf("%q is counted %d times, want %d", word, n, want[word])
		}
		seen++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if seen != len(want) {
		return fmt.Errorf("%d words, want %d", seen, len(want))
	}
	return nil
}
