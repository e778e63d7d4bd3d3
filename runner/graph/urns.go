package graph

// URNs of the model that decide how a transform is compiled.
const (
	urnImpulse = "beam:transform:impulse:v1"
	urnGroup   = "beam:transform:group_by_key:v1"
	urnFlatten = "beam:transform:flatten:v1"
	urnParDo   = "beam:transform:pardo:v1"
	urnGeneric = "beam:transform:generic_composite:v1"

	urnReshuffle               = "beam:transform:reshuffle:v1"
	urnRedistributeByKey       = "beam:transform:redistribute_by_key:v1"
	urnRedistributeArbitrarily = "beam:transform:redistribute_arbitrarily:v1"

	urnCombinePerKey     = "beam:transform:combine_per_key:v1"
	urnPrecombine        = "beam:transform:combine_per_key_precombine:v1"
	urnConvert           = "beam:transform:combine_per_key_convert_to_accumulators:v1"
	urnMergeAccumulators = "beam:transform:combine_per_key_merge_accumulators:v1"
	urnExtractOutputs    = "beam:transform:combine_per_key_extract_outputs:v1"
	urnToAccumulators    = "beam:transform:combine_per_key_convert_to_accumulators:v1"
	urnCombineGrouped    = "beam:transform:combine_grouped_values:v1"

	urnPair         = "beam:transform:sdf_pair_with_restriction:v1"
	urnSplit        = "beam:transform:sdf_split_and_size_restrictions:v1"
	urnTruncate     = "beam:transform:sdf_truncate_sized_restrictions:v1"
	urnProcessSized = "beam:transform:sdf_process_sized_element_and_restrictions:v1"

	urnWindowInto   = "beam:transform:window_into:v1"
	urnMapWindows   = "beam:transform:map_windows:v1"
	urnMergeWindows = "beam:transform:merge_windows:v1"
	urnToString     = "beam:transform:to_string:v1"

	urnTestStream = "beam:transform:teststream:v1"

	urnSource = "beam:runner:source:v1"
	urnSink   = "beam:runner:sink:v1"

	urnIterableSide = "beam:side_input:iterable:v1"
	urnMultimapSide = "beam:side_input:multimap:v1"

	urnSessions = "beam:window_fn:session_windows:v1"

	urnBytes          = "beam:coder:bytes:v1"
	urnString         = "beam:coder:string_utf8:v1"
	urnDouble         = "beam:coder:double:v1"
	urnKV             = "beam:coder:kv:v1"
	urnIterable       = "beam:coder:iterable:v1"
	urnLengthPrefix   = "beam:coder:length_prefix:v1"
	urnNullable       = "beam:coder:nullable:v1"
	urnWindowedValue  = "beam:coder:windowed_value:v1"
	urnTimer          = "beam:coder:timer:v1"
	urnGlobalWindow   = "beam:coder:global_window:v1"
	urnIntervalWindow = "beam:coder:interval_window:v1"
	urnCustomWindow   = "beam:coder:custom_window:v1"
)

// executable are the URNs of transforms that SDK workers run; an environment may
// declare more of them as capabilities. The value says what the payload holds.
var executable = map[string]payloadKind{
	urnParDo:             parDoPayload,
	urnPair:              parDoPayload,
	urnSplit:             parDoPayload,
	urnTruncate:          parDoPayload,
	urnProcessSized:      parDoPayload,
	urnPrecombine:        combinePayload,
	urnMergeAccumulators: combinePayload,
	urnExtractOutputs:    combinePayload,
	urnToAccumulators:    combinePayload,
	urnCombineGrouped:    combinePayload,
	urnWindowInto:        windowIntoPayload,
	urnMapWindows:        functionPayload,
	urnMergeWindows:      functionPayload,
	urnToString:          noPayload,
}

type payloadKind int

const (
	unknownPayload payloadKind = iota
	noPayload
	parDoPayload
	combinePayload
	windowIntoPayload
	functionPayload
)
