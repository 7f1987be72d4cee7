package io.github.atlassidecar.client;

import io.github.atlassidecar.api.v1.Decision;
import io.github.atlassidecar.api.v1.GenerateRequest;
import io.github.atlassidecar.api.v1.HealthRequest;
import io.github.atlassidecar.api.v1.HealthResponse;
import io.github.atlassidecar.api.v1.RouterGrpc;
import io.github.atlassidecar.api.v1.SelectRequest;
import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A connection to one sidecar: read the stream as events, as text or as one message, and hear one exception. Everything
 * else is the generated stub ({@link #stub}) and its messages. Safe for use by several threads.
 *
 * <p>Sent again is only what cannot have cost anything: Select and Health, and a Generate that no model saw. Everything is
 * bounded: messages, calls, and the patience with a sidecar that is not there yet.
 */
public final class AtlasRouter implements AutoCloseable {
  /** What is called where neither the caller nor ATLAS_TARGET names an address. */
  public static final String DEFAULT_TARGET = "127.0.0.1:50051";

  /** The sidecar's own limit; gRPC's default is 4 MiB. */
  public static final int MAX_MESSAGE_BYTES = 32 * 1024 * 1024;

  static final Duration DEFAULT_TIMEOUT = Duration.ofMinutes(10);
  static final Duration QUICK_TIMEOUT = Duration.ofSeconds(10);
  static final Duration DEFAULT_PATIENCE = Duration.ofSeconds(5);
  private static final String UNIX = "unix:";

  private final ManagedChannel channel;
  private final EventLoopGroup loops; // null over TCP, where gRPC has its own
  private final String target;
  private final Duration patience;

  private AtlasRouter(String target, ChannelCredentials credentials, Duration patience) {
    this.target = target;
    this.patience = patience;
    NettyChannelBuilder builder;
    if (target.startsWith(UNIX)) { // Linux only: Netty's epoll speaks to Unix sockets
      loops = new EpollEventLoopGroup(1, new DefaultThreadFactory("atlas", true));
      DomainSocketAddress path = new DomainSocketAddress(target.substring(UNIX.length()));
      builder =
          NettyChannelBuilder.forAddress(path, credentials)
              .eventLoopGroup(loops)
              .channelType(EpollDomainSocketChannel.class)
              .overrideAuthority("localhost");
    } else {
      loops = null;
      builder = NettyChannelBuilder.forTarget(target, credentials);
    }
    channel =
        builder
            .maxInboundMessageSize(MAX_MESSAGE_BYTES)
            .keepAliveTime(30, TimeUnit.SECONDS) // the sidecar allows a ping every 10 s
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true)
            .proxyDetector(address -> null)
            .defaultServiceConfig(serviceConfig())
            .enableRetry()
            .build();
  }

  /**
   * Returns a client of the sidecar at "HOST:PORT" or "unix:/PATH"; null is ATLAS_TARGET, else 127.0.0.1:50051. Nothing is
   * sent yet.
   */
  public static AtlasRouter connect(String target) {
    return connect(target, InsecureChannelCredentials.create(), DEFAULT_PATIENCE);
  }

  /** The same with TLS, and with how long a call goes on trying while no sidecar takes it (starting, restarting). */
  public static AtlasRouter connect(String target, ChannelCredentials credentials, Duration patience) {
    String given = target == null ? System.getenv("ATLAS_TARGET") : target;
    return new AtlasRouter(given == null || given.isEmpty() ? DEFAULT_TARGET : given, credentials, patience);
  }

  /** Returns the generated stub, for all that is not here. */
  public RouterGrpc.RouterBlockingStub stub() {
    return RouterGrpc.newBlockingStub(channel);
  }

  /** Returns the answer to read, once, within ten minutes; the request goes out when reading begins. */
  public Answer generate(GenerateRequest request) {
    return generate(request, DEFAULT_TIMEOUT, Map.of());
  }

  /** The same with a time for the whole call, and metadata, e.g. a traceparent. */
  public Answer generate(GenerateRequest request, Duration timeout, Map<String, String> metadata) {
    return new Answer(this, request, timeout, metadata);
  }

  /** Returns which model should serve, and why; throws AtlasException. */
  public Decision select(SelectRequest request) {
    return select(request, QUICK_TIMEOUT, Map.of());
  }

  /** The same with a time for the call, and metadata. */
  public Decision select(SelectRequest request, Duration timeout, Map<String, String> metadata) {
    try {
      return with(stub(), timeout, metadata).select(request).getDecision();
    } catch (StatusRuntimeException raised) {
      throw AtlasException.of(raised, null);
    }
  }

  /** Returns what the sidecar knows of its providers, models, budget and itself; throws AtlasException. */
  public HealthResponse health() {
    try {
      return with(stub(), QUICK_TIMEOUT, Map.of()).health(HealthRequest.getDefaultInstance());
    } catch (StatusRuntimeException raised) {
      throw AtlasException.of(raised, null);
    }
  }

  /** Ends the connection and every call on it. */
  @Override
  public void close() {
    channel.shutdownNow();
    if (loops != null) {
      loops.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }
  }

  Duration patience() {
    return patience;
  }

  static RouterGrpc.RouterBlockingStub with(
      RouterGrpc.RouterBlockingStub stub, Duration timeout, Map<String, String> metadata) {
    Metadata headers = new Metadata();
    metadata.forEach((key, value) -> headers.put(Metadata.Key.of(key, Metadata.ASCII_STRING_MARSHALLER), value));
    return stub.withDeadlineAfter(Math.max(1, timeout.toNanos()), TimeUnit.NANOSECONDS)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /** Waits for a connection until then; nothing of a request is sent before. Throws AtlasException where there is none. */
  void awaitReady(long untilNanos) {
    try {
      while (true) {
        ConnectivityState state = channel.getState(true);
        if (state == ConnectivityState.READY) {
          return;
        }
        CountDownLatch changed = new CountDownLatch(1);
        channel.notifyWhenStateChanged(state, changed::countDown);
        if (state == ConnectivityState.TRANSIENT_FAILURE) {
          channel.resetConnectBackoff(); // it is next door: look again soon
          changed.await(100, TimeUnit.MILLISECONDS);
        }
        long left = untilNanos - System.nanoTime();
        if (left <= 0 || state != ConnectivityState.TRANSIENT_FAILURE && !changed.await(left, TimeUnit.NANOSECONDS)) {
          throw new AtlasException(Status.Code.UNAVAILABLE, "no sidecar answers at " + target, null, null);
        }
      }
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw new AtlasException(Status.Code.CANCELLED, "interrupted", null, interrupted);
    }
  }

  private static Map<String, ?> serviceConfig() {
    String service = "atlas_api.v1.Router";
    List<Map<String, String>> names =
        List.of(Map.of("service", service, "method", "Select"), Map.of("service", service, "method", "Health"));
    Map<String, ?> retry =
        Map.of(
            "maxAttempts", 4.0, "initialBackoff", "0.1s", "maxBackoff", "1s", "backoffMultiplier", 2.0,
            "retryableStatusCodes", List.of("UNAVAILABLE"));
    return Map.of("methodConfig", List.of(Map.of("name", names, "retryPolicy", retry)));
  }
}
