package fnapi

import (
	"context"
	"maps"
	"slices"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// shortIDs are what a worker's short metric ids stand for. An id keeps its
// meaning as long as the worker lives.
type shortIDs struct {
	mu    sync.Mutex // guards the field below
	infos map[string]*pipepb.MonitoringInfo
}

// unknown returns the ids in data that have not been asked for yet, in order.
func (s *shortIDs) unknown(data map[string][]byte) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range data {
		if _, ok := s.infos[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (s *shortIDs) learn(infos map[string]*pipepb.MonitoringInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.infos == nil {
		s.infos = map[string]*pipepb.MonitoringInfo{}
	}
	maps.Copy(s.infos, infos)
}

// expand makes full infos of data, ordered by id. Ids that the worker could not
// explain are left out. The labels are shared and must not be changed.
func (s *shortIDs) expand(data map[string][]byte) []*pipepb.MonitoringInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*pipepb.MonitoringInfo, 0, len(data))
	for _, id := range slices.Sorted(maps.Keys(data)) {
		if i := s.infos[id]; i.GetUrn() != "" {
			all = append(all, &pipepb.MonitoringInfo{
				Urn: i.GetUrn(), Type: i.GetType(), Labels: i.GetLabels(), Payload: data[id],
			})
		}
	}
	return all
}

// resolve returns a bundle's metrics with their full metadata. Some SDKs send
// them both ways (Python always does), others by short id only.
func (w *worker) resolve(ctx context.Context, infos []*pipepb.MonitoringInfo, data map[string][]byte) ([]*pipepb.MonitoringInfo, error) {
	if len(infos) >= len(data) {
		return infos, nil
	}
	if ids := w.shortIDs.unknown(data); len(ids) > 0 {
		resp, err := w.ask(ctx, &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_MonitoringInfos{
			MonitoringInfos: &fnpb.MonitoringInfosMetadataRequest{MonitoringInfoId: ids},
		}})
		if err != nil {
			return nil, err
		}
		w.shortIDs.learn(resp.GetMonitoringInfos().GetMonitoringInfo())
	}
	return w.shortIDs.expand(data), nil
}
