package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/summerbeam/summerbeam/runner/engine"
)

type deadLettersCmd struct {
	File string `arg:"" help:"A file in the directory deadletters of a data directory."`
}

// Run prints each letter as a line of JSON, its element in base64.
func (c *deadLettersCmd) Run(s streams) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	out := json.NewEncoder(s.out)
	err = engine.ReadLetters(f, func(l engine.Letter, element []byte) error {
		return out.Encode(struct {
			engine.Letter
			Element []byte
		}{l, element})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}
