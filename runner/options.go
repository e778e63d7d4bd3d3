package runner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/job"
	"google.golang.org/protobuf/types/known/structpb"
)

// A pipeline can tune its own execution by options, which any SDK sends along: as
// flags where the SDK asks the runner for them (Python) or package beamrunner is
// linked in, or set by program. They say how, never what: results don't depend on them.
type option struct {
	name string
	kind jobpb.PipelineOptionType_Enum
	help string
	set  func(*engine.Config, string) error
}

var options = []option{
	{"summerbeam_bundle_elements", jobpb.PipelineOptionType_INTEGER, "Most elements in a bundle (default 10000).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.BundleElements) }},
	{"summerbeam_bundle_bytes", jobpb.PipelineOptionType_INTEGER, "Most bytes in a bundle, unless one element has more (default 4194304).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.BundleBytes) }},
	{"summerbeam_shards", jobpb.PipelineOptionType_INTEGER, "Shards of keyed stages (default twice the number of processors).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.Shards) }},
	{"summerbeam_slots", jobpb.PipelineOptionType_INTEGER, "Bundles that run at once (default twice the number of processors).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.Slots) }},
	{"summerbeam_split_after", jobpb.PipelineOptionType_STRING, "How long a bundle runs before it may be split, such as 50ms (default 100ms).",
		func(c *engine.Config, v string) (err error) { return duration(v, &c.Core.SplitAfter) }},
	{"summerbeam_checkpoint_after", jobpb.PipelineOptionType_STRING, "How long a bundle of an unbounded source runs before its output is taken and the rest goes to another, such as 5s (default 1s).",
		func(c *engine.Config, v string) (err error) { return duration(v, &c.Core.CheckpointAfter) }},
	{"summerbeam_source_slots", jobpb.PipelineOptionType_INTEGER, "Bundles of unbounded sources that run at once, besides the others (default 64).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.SourceSlots) }},
	{"summerbeam_force_splits", jobpb.PipelineOptionType_BOOLEAN, "Split bundles that could be, even if no slot is idle. For tests.",
		func(c *engine.Config, v string) (err error) {
			c.Core.ForceSplits, err = strconv.ParseBool(v)
			return err
		}},
	{optionOnPoison, jobpb.PipelineOptionType_STRING, "What becomes of an element that a DoFn fails with each time: fail ends the job (default), dead_letter puts it aside in a file, pause lets the job wait with all it has until it is corrected or resumed.",
		func(c *engine.Config, v string) error {
			switch v {
			case "fail":
				c.Core.OnPoison = core.FailJob
			case "dead_letter":
				c.Core.OnPoison = core.DeadLetter
			case "pause":
				c.Core.OnPoison = core.PauseJob
			default:
				return fmt.Errorf("%q is none of fail, dead_letter and pause", v)
			}
			return nil
		}},
	{"summerbeam_capsule_dir", jobpb.PipelineOptionType_STRING, "Directory for capsules of bundles that have failed for good (default: capsules in the data directory; without one there are none).",
		func(c *engine.Config, v string) error { c.Capsules.Dir = v; return nil }},
	{"summerbeam_capsules", jobpb.PipelineOptionType_INTEGER, "Capsules that are kept, of all jobs in the directory together (default 50); the oldest go.",
		func(c *engine.Config, v string) error { return positive(v, &c.Capsules.Keep) }},
	{"summerbeam_capsule_bytes", jobpb.PipelineOptionType_INTEGER, "Most bytes of input and state in a capsule (default 67108864); a larger bundle gets none.",
		func(c *engine.Config, v string) error { return positive(v, &c.Capsules.Bytes) }},
	{"summerbeam_epoch_interval", jobpb.PipelineOptionType_STRING, "Longest time between a change of state and its epoch, such as 200ms (the default).",
		func(c *engine.Config, v string) error { return duration(v, &c.Core.EpochInterval) }},
	{"summerbeam_epoch_bytes", jobpb.PipelineOptionType_INTEGER, "Changed state (bytes) that starts an epoch before its interval has passed (default 33554432).",
		func(c *engine.Config, v string) error { return positive(v, &c.Core.EpochBytes) }},
	{optionUpdate, jobpb.PipelineOptionType_STRING, "Let this pipeline take over the job of the same name, whose pipeline has another shape: true; or plan, to see what would become of what the job has, and end.", checked},
	{optionDropState, jobpb.PipelineOptionType_BOOLEAN, "Let an update drop state, timers and queued elements that the new pipeline has no place for.", checked},
	{optionRenamed, jobpb.PipelineOptionType_STRING, "Transforms that have other names since: a JSON object of new names by old ones.", checked},
}

// checked is for options that are read elsewhere, see readUpdateOptions.
func checked(*engine.Config, string) error { return nil }

func positive[T int | int64](v string, to *T) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is not a positive number", v)
	}
	*to = T(n)
	return nil
}

func duration(v string, to *time.Duration) error {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a positive duration such as 200ms", v)
	}
	*to = d
	return nil
}

// SetOption sets one option by its name, with the prefix summerbeam_ or without.
func SetOption(c *engine.Config, name, value string) error {
	for _, o := range options {
		if o.name == name || o.name == "summerbeam_"+name {
			if err := o.set(c, value); err != nil {
				return fmt.Errorf("option %s: %w", o.name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("there is no option %s", name)
}

// Options calls fn with each option's name and what it does.
func Options(fn func(name, help string)) {
	for _, o := range options {
		fn(o.name, o.help)
	}
}

// described are the options as the Job API lists them.
func described() []job.PipelineOption {
	var out []job.PipelineOption
	for _, o := range options {
		out = append(out, job.PipelineOption{Name: o.name, Type: o.kind, Description: o.help})
	}
	return out
}

// givenOptions are a pipeline's options as they would stand on a command line. SDKs wrap
// names as "beam:option:<name>:v1"; Go puts those of the program's flags together under
// go_options.
func givenOptions(opts *structpb.Struct) map[string]string {
	given := map[string]string{}
	collect := func(fields map[string]*structpb.Value) {
		for k, v := range fields {
			if s, ok := scalar(v); ok {
				given[k] = s
			}
		}
	}
	unwrapped := map[string]*structpb.Value{}
	for k, v := range opts.GetFields() {
		name := strings.TrimSuffix(strings.TrimPrefix(k, "beam:option:"), ":v1")
		if name == "go_options" {
			collect(v.GetStructValue().GetFields()["options"].GetStructValue().GetFields())
			continue
		}
		unwrapped[name] = v
	}
	collect(unwrapped)
	return given
}

// applyOptions sets what a pipeline's options say.
func applyOptions(c *engine.Config, opts *structpb.Struct) error {
	given := givenOptions(opts)
	var errs []error
	for _, o := range options {
		if v, ok := given[o.name]; ok && v != "" {
			if err := o.set(c, v); err != nil {
				errs = append(errs, fmt.Errorf("option --%s: %w", o.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// scalar is a value as it would stand on a command line.
func scalar(v *structpb.Value) (string, bool) {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return v.StringValue, true
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(v.NumberValue, 'f', -1, 64), true
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(v.BoolValue), true
	}
	return "", false
}
