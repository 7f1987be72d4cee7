package atlas

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/atlas-sidecar/atlas-sidecar/clients/go/atlasapi/v1"
)

// Violation is one field of a request that is wrong; Field is its path ("tools[0].name").
type Violation struct{ Field, Description string }

// Error is a call that ended without an answer.
type Error struct {
	Code       codes.Code
	Reason     string // google.rpc.ErrorInfo's: ALL_MODELS_FAILED, BUDGET_EXHAUSTED, ...; "" where the sidecar was not reached
	Message    string
	Metadata   map[string]string
	RetryAfter time.Duration // the smallest wait that may help; 0: not known to help
	Violations []Violation   // on INVALID_REQUEST
	Failure    *pb.Failure   // the `failed` event, with every attempt, its class and cost; may be nil

	neverRan bool // no model was asked: a sidecar that shuts down refused it
}

// Error returns the reason and the message.
func (e *Error) Error() string {
	if e.Reason == "" {
		return "atlas: " + e.Code.String() + ": " + e.Message
	}
	return "atlas: " + e.Reason + ": " + e.Message
}

// Attempts returns every request that was sent to a provider, in order.
func (e *Error) Attempts() []*pb.Attempt { return e.Failure.GetAttempts() }

// GRPCStatus lets status.Code and status.FromError read the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

func errorOf(err error, failure *pb.Failure) *Error {
	ended := status.Convert(err)
	result := &Error{Code: ended.Code(), Message: ended.Message(), Reason: failure.GetReason(), Failure: failure}
	for _, detail := range ended.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			result.Reason, result.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			result.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				result.Violations = append(result.Violations, Violation{each.GetField(), each.GetDescription()})
			}
		}
	}
	result.neverRan = result.Reason == "DRAINING"
	return result
}
