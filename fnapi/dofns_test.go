package fnapi_test

import (
	"bytes"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function1x1(upper)
}

func upper(b []byte) []byte { return bytes.ToUpper(b) }
