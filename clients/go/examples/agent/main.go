// Command agent asks its sidecar, calls a tool, and says what happened on the way.
//
// `agent [-role R] [-timeout SECONDS] QUESTION`, with ATLAS_TARGET if the sidecar is elsewhere. The answer is on stdout,
// notes in brackets are on stderr. Ctrl-C cancels.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/atlas-sidecar/atlas-sidecar/clients/go/atlas"
	pb "github.com/atlas-sidecar/atlas-sidecar/clients/go/atlasapi/v1"
)

const maxTurns = 4

var tool = &pb.Tool{
	Name:                 "get_weather",
	Description:          "Returns the weather of a city.",
	ParametersJsonSchema: `{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`,
}

// getWeather stands in for a real tool.
func getWeather(argumentsJSON string) string {
	var arguments struct{ City string }
	if err := json.Unmarshal([]byte(argumentsJSON), &arguments); err != nil {
		return "the arguments are no JSON"
	}
	return "rain, 12 C in " + arguments.City
}

func note(format string, values ...any) { fmt.Fprintf(os.Stderr, "["+format+"]\n", values...) }

func text(text string) *pb.Part { return &pb.Part{Kind: &pb.Part_Text{Text: text}} }

// show prints the answer while it comes, and returns its end.
func show(answer *atlas.Answer) (*pb.Completed, error) {
	var completed *pb.Completed
	for event, err := range answer.Events() {
		if err != nil {
			return nil, err
		}
		switch event := event.GetEvent().(type) {
		case *pb.GenerateEvent_Delta:
			fmt.Print(event.Delta.GetText())
		case *pb.GenerateEvent_HopFailed:
			hop, then := event.HopFailed, "no model is left"
			if hop.GetNext() != nil {
				then = hop.GetNext().GetId() + " is asked next"
			}
			kind := strings.ToLower(strings.TrimPrefix(hop.GetErrorClass().String(), "ERROR_CLASS_"))
			note("%s failed: %s; %s", hop.GetModel().GetId(), kind, then)
		case *pb.GenerateEvent_Reset_:
			fmt.Println()
			note("starting over")
		case *pb.GenerateEvent_Completed:
			completed = event.Completed
		}
	}
	return completed, nil
}

// results runs the tools that a message calls, and returns their results as parts.
func results(message *pb.ChatMessage) []*pb.Part {
	var parts []*pb.Part
	for _, part := range message.GetParts() {
		if call := part.GetToolCall(); call != nil {
			output := getWeather(call.GetArgumentsJson())
			note("%s(%s) = %s", call.GetName(), call.GetArgumentsJson(), output)
			result := &pb.ToolResult{CallId: call.GetId(), Name: call.GetName(), Parts: []*pb.Part{text(output)}}
			parts = append(parts, &pb.Part{Kind: &pb.Part_ToolResult{ToolResult: result}})
		}
	}
	return parts
}

// converse asks, runs the tools, and asks again until there is an answer.
func converse(ctx context.Context, router *atlas.Router, request *pb.GenerateRequest) error {
	parent := os.Getenv("TRACEPARENT")
	if parent == "" {
		var id [24]byte
		rand.Read(id[:])
		parent = fmt.Sprintf("00-%x-%x-01", id[:16], id[16:])
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
	for range maxTurns {
		completed, err := show(router.Generate(ctx, request))
		if err != nil {
			return err
		}
		request.Messages = append(request.Messages, completed.GetMessage())
		parts := results(completed.GetMessage())
		if len(parts) == 0 {
			fmt.Println()
			cost := float64(completed.GetCost().GetNanoUsd()) / 1e9
			note("%s answered for %.6f USD, trace %s", completed.GetModel().GetId(), cost, completed.GetTraceId())
			return nil
		}
		request.Messages = append(request.Messages, &pb.ChatMessage{Role: pb.ChatMessage_ROLE_TOOL, Parts: parts})
	}
	note("no answer after %d turns", maxTurns)
	return nil
}

// explain says why there is no answer, and what helps; it returns the exit status.
func explain(err error) int {
	var failed *atlas.Error
	if !errors.As(err, &failed) {
		note("no answer: %v", err)
		return 1
	}
	note("no answer: %s", strings.TrimPrefix(failed.Error(), "atlas: "))
	switch failed.Reason {
	case "BUDGET_EXHAUSTED":
		note("the budget is used up: ask for more, or wait for the next day")
	case "ALL_MODELS_FAILED":
		for _, attempt := range failed.Attempts() {
			note("hop %d, %s: HTTP %d", attempt.GetHop(), attempt.GetModel().GetId(), attempt.GetHttpStatus())
		}
	}
	if failed.RetryAfter > 0 {
		note("trying again may help in %.0f s", failed.RetryAfter.Seconds())
	}
	if failed.Code == codes.Canceled {
		return 130
	}
	return 1
}

func main() {
	role := flag.String("role", "worker", "")
	timeout := flag.Float64("timeout", 120, "seconds, for the whole conversation")
	flag.Parse()
	router, err := atlas.Connect("", atlas.Options{})
	if err != nil {
		os.Exit(explain(err))
	}
	defer router.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*timeout*float64(time.Second)))
	defer cancel()
	request := &pb.GenerateRequest{
		Requirements: &pb.Requirements{AgentType: *role},
		Messages:     []*pb.ChatMessage{{Role: pb.ChatMessage_ROLE_USER, Parts: []*pb.Part{text(flag.Arg(0))}}},
		Tools:        []*pb.Tool{tool},
		StreamPolicy: pb.StreamPolicy_STREAM_POLICY_RESTART,
	}
	if err := converse(ctx, router, request); err != nil {
		os.Exit(explain(err))
	}
}
