package main

import (
	"fmt"
	"slices"
)

// The ways to run a pipeline that can be tested.
const (
	modeServed   = "served"   // bin/summerbeam over the Job API and gRPC
	modeEmbedded = "embedded" // the runner linked into the test binary
	modePrism    = "prism"    // Beam's own local runner, served
	modeEndpoint = "endpoint" // a server that somebody else started
)

// Setup is one way to run the suites.
type Setup struct {
	Mode string `json:"mode"`
	// Store is rocksdb or pebble, and empty for other people's runners.
	Store string `json:"store,omitempty"`
	// Endpoint is set for the mode endpoint only.
	Endpoint string `json:"endpoint,omitempty"`
}

func (s Setup) String() string {
	if s.Store == "" {
		return s.Mode
	}
	return s.Mode + "/" + s.Store
}

// tags are the build tags that the setup's store needs.
func (s Setup) tags() string {
	if s.Store == "rocksdb" {
		return "rocksdb"
	}
	return ""
}

// setupsOf returns every combination of modes and stores, or the endpoint alone.
func setupsOf(modes, stores []string, endpoint string) ([]Setup, error) {
	if endpoint != "" {
		return []Setup{{Mode: modeEndpoint, Endpoint: endpoint}}, nil
	}
	for _, store := range stores {
		if !slices.Contains([]string{"rocksdb", "pebble"}, store) {
			return nil, fmt.Errorf("unknown store %q: want rocksdb or pebble", store)
		}
	}
	var setups []Setup
	for _, mode := range modes {
		switch mode {
		case modePrism:
			setups = append(setups, Setup{Mode: mode})
		case modeServed, modeEmbedded:
			for _, store := range stores {
				setups = append(setups, Setup{Mode: mode, Store: store})
			}
		default:
			return nil, fmt.Errorf("unknown mode %q: want served, embedded or prism", mode)
		}
	}
	return setups, nil
}
