// Package atlas is a thin client of the ATLAS sidecar: connect, read the stream as events, as text or as one message, and
// hear one error type. Everything else is the generated stub (Router.Stub) and the messages of atlasapi/v1.
//
// Rules kept here:
//   - Sent again is only what cannot have cost anything: Select and Health, and a Generate that no model saw.
//   - Everything is bounded: messages, calls, and the patience with a sidecar that is not there yet.
package atlas

import (
	"context"
	"crypto/tls"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "github.com/atlas-sidecar/atlas-sidecar/clients/go/atlasapi/v1"
)

const (
	// DefaultTarget is called where neither the caller nor ATLAS_TARGET names an address.
	DefaultTarget = "127.0.0.1:50051"
	// MaxMessageBytes is the sidecar's own limit; gRPC's default is 4 MiB.
	MaxMessageBytes = 32 << 20

	defaultPatience = 5 * time.Second
	defaultTimeout  = 10 * time.Minute
	quickTimeout    = 10 * time.Second
	firstPause      = 100 * time.Millisecond
	longestPause    = time.Second
)

const serviceConfig = `{"methodConfig": [{
	"name": [{"service": "atlas_api.v1.Router", "method": "Select"}, {"service": "atlas_api.v1.Router", "method": "Health"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// Options says how to connect; the zero value is for a sidecar in the same pod.
type Options struct {
	TLS      *tls.Config   // nil: no TLS, as on loopback or a Unix socket
	Patience time.Duration // how long a call goes on trying while no sidecar takes it (starting, restarting); 0: 5 s
}

// Router is a connection to one sidecar, safe for concurrent use. Stub is the generated client, for all that is not here.
type Router struct {
	Stub     pb.RouterClient
	conn     *grpc.ClientConn
	patience time.Duration
}

// Connect returns a client of the sidecar at "HOST:PORT" or "unix:/PATH"; "" is ATLAS_TARGET, else DefaultTarget.
// Nothing is sent yet.
func Connect(target string, options Options) (*Router, error) {
	if target == "" {
		target = os.Getenv("ATLAS_TARGET")
	}
	if target == "" {
		target = DefaultTarget
	}
	security := insecure.NewCredentials()
	if options.TLS != nil {
		security = credentials.NewTLS(options.TLS)
	}
	if options.Patience == 0 {
		options.Patience = defaultPatience
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		// The sidecar allows a ping every 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		// It is next door: look again soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause},
			MinConnectTimeout: 5 * time.Second}),
	)
	if err != nil {
		return nil, err
	}
	return &Router{Stub: pb.NewRouterClient(conn), conn: conn, patience: options.Patience}, nil
}

// Close ends the connection and every call on it.
func (r *Router) Close() error { return r.conn.Close() }

// Select returns which model should serve, and why; without a deadline it takes at most 10 s. Errors are *Error.
func (r *Router) Select(ctx context.Context, request *pb.SelectRequest) (*pb.Decision, error) {
	ctx, cancel := bounded(ctx, quickTimeout)
	defer cancel()
	response, err := r.Stub.Select(ctx, request)
	if err != nil {
		return nil, errorOf(err, nil)
	}
	return response.GetDecision(), nil
}

// Health returns what the sidecar knows of its providers, models, budget and itself; at most 10 s. Errors are *Error.
func (r *Router) Health(ctx context.Context) (*pb.HealthResponse, error) {
	ctx, cancel := bounded(ctx, quickTimeout)
	defer cancel()
	response, err := r.Stub.Health(ctx, &pb.HealthRequest{})
	if err != nil {
		return nil, errorOf(err, nil)
	}
	return response, nil
}

// Generate returns the answer to read, once; the request goes out when reading begins. The context's deadline bounds the
// whole call (10 minutes without one) and cancelling it cancels the call.
func (r *Router) Generate(ctx context.Context, request *pb.GenerateRequest) *Answer {
	return &Answer{router: r, ctx: ctx, request: request}
}

// ready waits until there is a connection; the error says why there is none. Nothing of a request was sent before.
func (r *Router) ready(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for state := r.conn.GetState(); state != connectivity.Ready; state = r.conn.GetState() {
		r.conn.Connect()
		if !r.conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
	return nil
}

func bounded(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, most)
}
