package fnapi

import (
	"context"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

const (
	capShortIDs         = "beam:protocol:monitoring_info_short_ids:v1"
	capResponseElements = "beam:protocol:control_response_elements_embedding:v1"
	capRequestElements  = "beam:protocol:control_request_elements_embedding:v1"
	capWorkerStatus     = "beam:protocol:worker_status:v1"

	// noArtifacts is the retrieval token of a worker without dependencies. With any
	// other one its boot program falls back to a retrieval service of old.
	noArtifacts = "__no_artifacts_staged__"
)

// GetProvisionInfo tells a worker what it needs before it can start.
func (sv *services) GetProvisionInfo(ctx context.Context, _ *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	w, err := sv.s.caller(ctx)
	if err != nil {
		return nil, err
	}
	api := &pipepb.ApiServiceDescriptor{Url: w.endpoint}
	info := &fnpb.ProvisionInfo{
		PipelineOptions:  w.job.Options,
		RetrievalToken:   noArtifacts,
		Dependencies:     w.environment.GetDependencies(),
		LoggingEndpoint:  api,
		ArtifactEndpoint: api,
		ControlEndpoint:  api,
		RunnerCapabilities: []string{
			capShortIDs, capResponseElements,
		},
		Metadata: map[string]string{"runner": "summerbeam", "job_id": w.job.ID, "job_name": w.job.Name},
	}
	if len(info.Dependencies) > 0 {
		info.RetrievalToken = w.job.RetrievalToken
	}
	if slices.Contains(w.environment.GetCapabilities(), capWorkerStatus) {
		info.StatusEndpoint = api
	}
	return &fnpb.GetProvisionInfoResponse{Info: info}, nil
}
