package main

import (
	"slices"
	"testing"
)

func TestUnderscores(t *testing.T) {
	for _, tc := range []struct{ in, want []string }{
		{[]string{"serve", "--data-dir=a-b", "--log-level", "x-y", "-h"}, []string{"serve", "--data_dir=a-b", "--log_level", "x-y", "-h"}},
		{[]string{"--a_b-c", "--", "--a-b"}, []string{"--a_b_c", "--", "--a-b"}},
		{nil, nil},
	} {
		if got := underscores(tc.in); !slices.Equal(got, tc.want) {
			t.Errorf("underscores(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for in, want := range map[string]byteSize{
		"0": 0, "123": 123, "1k": 1000, "1K": 1000, "2M": 2e6, "3G": 3e9, "1T": 1e12, "5KiB": 5 << 10, "512MiB": 512 << 20,
		"4GiB": 4 << 30, "1.5GiB": 3 << 29, "2 GiB": 2 << 30, "7B": 7, "1TiB": 1 << 40, "10MB": 10e6, " 8k ": 8000,
	} {
		var b byteSize
		if err := b.UnmarshalText([]byte(in)); err != nil || b != want {
			t.Errorf("%q is %d, %v; want %d", in, b, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "1X", "1GiBB", "0x10", "1e3", "NaN", "Inf", "1 2", "1_000", "9999999TiB", "1mib"} {
		var b byteSize
		if err := b.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is %d", in, b)
		}
	}
}
