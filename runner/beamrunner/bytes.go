package beamrunner

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseBytes reads a size such as 512MiB, 2GB or 1048576. Nothing is 0.
func parseBytes(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimRight(s, "BKMGTikmgtb ")
	units := map[string]int64{
		"": 1, "b": 1,
		"k": 1 << 10, "kb": 1e3, "kib": 1 << 10,
		"m": 1 << 20, "mb": 1e6, "mib": 1 << 20,
		"g": 1 << 30, "gb": 1e9, "gib": 1 << 30,
		"t": 1 << 40, "tb": 1e12, "tib": 1 << 40,
	}
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n > 0) || n*float64(unit) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size: write a number with a unit, such as 512MiB or 2GiB", s)
	}
	return int64(n * float64(unit)), nil
}
