package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// underscores writes the dashes inside flag names as Beam does, with underscores:
// --data-dir means --data_dir. Values, and what comes after "--", stay as they are.
func underscores(args []string) []string {
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if rest, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, hasValue := strings.Cut(rest, "=")
			arg = "--" + strings.ReplaceAll(name, "-", "_")
			if hasValue {
				arg += "=" + value
			}
		}
		out = append(out, arg)
	}
	return out
}

// byteSize is a flag such as 4GiB: a number of bytes, with a unit or without.
type byteSize int64

// units are powers of 1024 where an "i" says so, else of 1000.
var units = map[string]float64{
	"": 1, "B": 1,
	"k": 1e3, "kB": 1e3, "K": 1e3, "KB": 1e3, "KiB": 1 << 10, "Ki": 1 << 10,
	"M": 1e6, "MB": 1e6, "MiB": 1 << 20, "Mi": 1 << 20,
	"G": 1e9, "GB": 1e9, "GiB": 1 << 30, "Gi": 1 << 30,
	"T": 1e12, "TB": 1e12, "TiB": 1 << 40, "Ti": 1 << 40,
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "BKMGTkib ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := units[strings.TrimSpace(s[len(digits):])]
	if err != nil || !ok || !(n >= 0) || strings.ContainsAny(digits, "xXpP_+eE") {
		return fmt.Errorf("%q is not a size such as 512MiB, 4GiB or 2G", s)
	}
	if n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is too large a size", s)
	}
	*b = byteSize(n * unit)
	return nil
}
