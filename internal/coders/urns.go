package coders

// URNs of the model's standard coders.
const (
	urnBytes               = "beam:coder:bytes:v1"
	urnString              = "beam:coder:string_utf8:v1"
	urnBool                = "beam:coder:bool:v1"
	urnVarint              = "beam:coder:varint:v1"
	urnDouble              = "beam:coder:double:v1"
	urnLengthPrefix        = "beam:coder:length_prefix:v1"
	urnKV                  = "beam:coder:kv:v1"
	urnIterable            = "beam:coder:iterable:v1"
	urnStateBackedIterable = "beam:coder:state_backed_iterable:v1"
	urnNullable            = "beam:coder:nullable:v1"
	urnShardedKey          = "beam:coder:sharded_key:v1"
	urnRow                 = "beam:coder:row:v1"
	urnTimer               = "beam:coder:timer:v1"
	urnWindowedValue       = "beam:coder:windowed_value:v1"
	urnParamWindowedValue  = "beam:coder:param_windowed_value:v1"
	urnGlobalWindow        = "beam:coder:global_window:v1"
	urnIntervalWindow      = "beam:coder:interval_window:v1"
	urnCustomWindow        = "beam:coder:custom_window:v1"
)

// Known says whether the runner skips elements of a coder with this URN, its
// components aside. A coder that is not known must be given a length prefix where
// its elements cross between runner and SDK.
//
// Rows are not known although Compile takes them: what SDKs write does not always
// follow from the schema. The Go SDK writes no bytes for unexported fields though
// the schema lists them, writes a named byte slice as bytes though the schema says
// an array, and writes 16-bit integers as varints where Java and Python write two
// bytes. A runner that trusts such a schema cuts elements at the wrong places.
func Known(urn string) bool {
	switch urn {
	case urnBytes, urnString, urnBool, urnVarint, urnDouble, urnLengthPrefix,
		urnKV, urnIterable, urnStateBackedIterable, urnNullable, urnShardedKey,
		urnTimer, urnWindowedValue, urnParamWindowedValue,
		urnGlobalWindow, urnIntervalWindow, urnCustomWindow:
		return true
	}
	return false
}
