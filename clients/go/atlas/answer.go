package atlas

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/atlas-sidecar/atlas-sidecar/clients/go/atlasapi/v1"
)

// ErrTextWithdrawn says that text which was already handed out is void: the answer starts over with another model.
var ErrTextWithdrawn = errors.New("atlas: the answer starts over; read the events, or pass OnReset")

// Answer is one answer while it comes. Read it once, in one of three ways: Events, Text or Collect.
type Answer struct {
	router  *Router
	ctx     context.Context
	request *pb.GenerateRequest
	onReset func()
}

// OnReset makes Text call f when all text so far is void, instead of ending with ErrTextWithdrawn; it returns the answer.
func (a *Answer) OnReset(f func()) *Answer {
	a.onReset = f
	return a
}

// Events yields every event, the last one too, and after it an *Error where the call failed. Leaving the loop early
// cancels the call.
func (a *Answer) Events() iter.Seq2[*pb.GenerateEvent, error] {
	return func(yield func(*pb.GenerateEvent, error) bool) {
		ctx, cancel := bounded(a.ctx, defaultTimeout)
		defer cancel()
		ends, pause := time.Now().Add(a.router.patience), firstPause
		for {
			failed, problem, stopped := a.once(ctx, ends, yield)
			if stopped || problem == nil {
				return
			}
			wait := max(pause, problem.RetryAfter)
			pause = min(2*pause, longestPause)
			if !problem.neverRan || !time.Now().Add(wait).Before(ends) || !sleep(ctx, wait) {
				if failed == nil || yield(failed, nil) {
					yield(nil, problem)
				}
				return
			}
		}
	}
}

// once reads one stream to its end. The `failed` event is held back, for a call that is not sent again.
func (a *Answer) once(
	ctx context.Context, ends time.Time, yield func(*pb.GenerateEvent, error) bool,
) (failed *pb.GenerateEvent, problem *Error, stopped bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.router.ready(ctx, ends); err != nil && ctx.Err() == nil {
		return nil, &Error{Code: codes.Unavailable, Message: "no sidecar answers at " + a.router.conn.Target()}, false
	}
	stream, err := a.router.Stub.Generate(ctx, a.request)
	for err == nil {
		var event *pb.GenerateEvent
		if event, err = stream.Recv(); err != nil {
			break
		}
		if event.GetFailed() != nil {
			failed = event
		} else if !yield(event, nil) {
			return nil, nil, true
		}
	}
	if errors.Is(err, io.EOF) {
		return nil, nil, false
	}
	return failed, errorOf(err, failed.GetFailed()), false
}

// Text yields the text as it comes, and at the end an *Error where the call failed. With a policy that may start over
// (RESTART, CONTINUE) see OnReset; with BUFFER the whole text comes at once.
func (a *Answer) Text() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		said := false
		for event, err := range a.Events() {
			switch {
			case err != nil:
				yield("", err)
				return
			case event.GetDelta().GetText() != "":
				said = true
				if !yield(event.GetDelta().GetText(), nil) {
					return
				}
			case event.GetReset_() != nil && said:
				if a.onReset == nil {
					yield("", ErrTextWithdrawn)
					return
				}
				said = false
				a.onReset()
			case event.GetCompleted() != nil && !said:
				for _, part := range event.GetCompleted().GetMessage().GetParts() {
					if part.GetText() != "" && !yield(part.GetText(), nil) {
						return
					}
				}
			}
		}
	}
}

// Collect returns the end of the answer: the whole message, the model, usage, cost, attempts. Errors are *Error.
func (a *Answer) Collect() (*pb.Completed, error) {
	var completed *pb.Completed
	for event, err := range a.Events() {
		if err != nil {
			return nil, err
		}
		if event.GetCompleted() != nil {
			completed = event.GetCompleted()
		}
	}
	if completed == nil {
		return nil, &Error{Code: codes.Internal, Message: "the stream ended without `completed`"}
	}
	return completed, nil
}

func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
