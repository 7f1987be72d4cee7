// Command conformance does what a file says and prints what it saw, as JSON: `conformance --target ADDRESS FILE`.
// clients/conformance/README.md has the format.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/atlas-sidecar/atlas-sidecar/clients/go/atlas"
	pb "github.com/atlas-sidecar/atlas-sidecar/clients/go/atlasapi/v1"
)

type step struct {
	Name       string            `json:"name"`
	Read       string            `json:"read"`
	Target     string            `json:"target"`
	Request    json.RawMessage   `json:"request"`
	Metadata   map[string]string `json:"metadata"`
	TimeoutMs  int64             `json:"timeout_ms"`
	PatienceMs int64             `json:"patience_ms"`
	CancelAt   string            `json:"cancel_at"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

type result struct {
	Name        string            `json:"name"`
	Status      string            `json:"status"`
	Reason      string            `json:"reason"`
	Message     string            `json:"message"`
	RetryAfterS *float64          `json:"retry_after_s"`
	Violations  []violation       `json:"violations"`
	Attempts    int               `json:"attempts"`
	Events      []json.RawMessage `json:"events"`
	Text        string            `json:"text"`
}

func main() {
	target := flag.String("target", "", "the sidecar's address")
	flag.Parse()
	if err := run(*target, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(target, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var steps []step
	if err := json.Unmarshal(raw, &steps); err != nil {
		return err
	}
	shared, err := atlas.Connect(target, atlas.Options{})
	if err != nil {
		return err
	}
	defer shared.Close()
	results := make([]*result, 0, len(steps))
	for _, step := range steps {
		router := shared
		if step.Target != "" {
			patience := time.Duration(step.PatienceMs) * time.Millisecond
			if router, err = atlas.Connect(step.Target, atlas.Options{Patience: patience}); err != nil {
				return err
			}
			defer router.Close()
		}
		seen := &result{Name: step.Name, Status: "OK", Violations: []violation{}, Events: []json.RawMessage{}}
		seen.note(step.do(router, seen))
		results = append(results, seen)
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func (s step) do(router *atlas.Router, seen *result) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.TimeoutMs)*time.Millisecond)
	defer cancel()
	for key, value := range s.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	switch s.Read {
	case "health":
		response, err := router.Health(ctx)
		return seen.add(response, err)
	case "select":
		request := &pb.SelectRequest{}
		if err := protojson.Unmarshal(s.Request, request); err != nil {
			return err
		}
		decision, err := router.Select(ctx, request)
		return seen.add(&pb.SelectResponse{Decision: decision}, err)
	}
	request := &pb.GenerateRequest{}
	if err := protojson.Unmarshal(s.Request, request); err != nil {
		return err
	}
	answer := router.Generate(ctx, request)
	switch s.Read {
	case "text":
		for text, err := range answer.Text() {
			if err != nil {
				return err
			}
			seen.Text += text
		}
		return nil
	case "collect":
		completed, err := answer.Collect()
		return seen.add(&pb.GenerateEvent{Event: &pb.GenerateEvent_Completed{Completed: completed}}, err)
	}
	for event, err := range answer.Events() {
		if err := seen.add(event, err); err != nil {
			return err
		}
		if s.CancelAt == "delta" && event.GetDelta() != nil {
			cancel()
		}
	}
	return nil
}

func (r *result) add(message proto.Message, err error) error {
	if err != nil {
		return err
	}
	raw, err := protojson.Marshal(message)
	if err == nil {
		r.Events = append(r.Events, raw)
	}
	return err
}

func (r *result) note(err error) {
	var failed *atlas.Error
	switch {
	case err == nil:
	case errors.Is(err, atlas.ErrTextWithdrawn):
		r.Status = "WITHDRAWN"
	case errors.As(err, &failed):
		r.Status, r.Reason, r.Message = screaming(failed.Code), failed.Reason, failed.Message
		r.Attempts = len(failed.Attempts())
		for _, each := range failed.Violations {
			r.Violations = append(r.Violations, violation(each))
		}
		if failed.RetryAfter > 0 {
			seconds := failed.RetryAfter.Seconds()
			r.RetryAfterS = &seconds
		}
	default:
		r.Status, r.Message = "BROKEN", err.Error()
	}
}

// screaming returns a code's name as gRPC writes it: DEADLINE_EXCEEDED.
func screaming(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for i, letter := range code.String() {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}
