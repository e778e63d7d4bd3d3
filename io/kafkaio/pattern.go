package kafkaio

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// pattern is the regular expression of whole names, or nil if there is none.
func (c *readConfig) pattern() (*regexp.Regexp, error) {
	if c.Pattern == "" {
		return nil, nil
	}
	// Alone first: what is unbalanced must not become balanced by what is put around it.
	if _, err := regexp.Compile(c.Pattern); err != nil {
		return nil, fmt.Errorf("kafkaio: TopicPattern: %w", err)
	}
	return regexp.Compile("^(?:" + c.Pattern + ")$")
}

// topics lists those to read: those that are named, and those that match the pattern now.
func (c *readConfig) topics(ctx context.Context, adm *kadm.Client) ([]string, error) {
	match, err := c.pattern()
	if match == nil || err != nil {
		return c.Topics, err
	}
	var all kadm.TopicDetails
	err = patiently(ctx, "topics", func() (err error) {
		all, err = adm.ListTopics(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kafkaio: topics that match %s: %w", c.Pattern, err)
	}
	names := slices.Clone(c.Topics)
	for name, d := range all {
		if d.Err == nil && !d.IsInternal && !strings.HasPrefix(name, "__") && match.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
