//go:build !linux && !darwin

package engine

import "errors"

func (osFiles) Free(string) (int64, error) { return 0, errors.ErrUnsupported }
