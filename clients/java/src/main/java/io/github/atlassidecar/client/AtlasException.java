package io.github.atlassidecar.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.atlassidecar.api.v1.Attempt;
import io.github.atlassidecar.api.v1.Failure;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A call that ended without an answer. */
public final class AtlasException extends RuntimeException {
  /** One field of a request that is wrong; {@code field} is its path ("tools[0].name"). */
  public record Violation(String field, String description) {}

  private final Status.Code code;
  private final transient Failure failure;
  private String reason;
  private String message;
  private Map<String, String> metadata = Map.of();
  private Duration retryAfter;
  private final transient List<Violation> violations = new ArrayList<>();

  AtlasException(Status.Code code, String message, Failure failure, Throwable cause) {
    super(cause);
    this.code = code;
    this.message = message;
    this.failure = failure;
    this.reason = failure == null ? "" : failure.getReason();
  }

  /** Returns the error that a failed call stands for; {@code failure}: its `failed` event, or null. */
  static AtlasException of(StatusRuntimeException raised, Failure failure) {
    Status status = raised.getStatus();
    String text = status.getDescription() == null ? "" : status.getDescription();
    AtlasException error = new AtlasException(status.getCode(), text, failure, raised);
    com.google.rpc.Status details = StatusProto.fromThrowable(raised);
    if (details != null) {
      details.getDetailsList().forEach(error::add);
    }
    return error;
  }

  private void add(Any detail) {
    try {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        reason = info.getReason();
        metadata = info.getMetadataMap();
      } else if (detail.is(RetryInfo.class)) {
        com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
        retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
      } else if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation each : detail.unpack(BadRequest.class).getFieldViolationsList()) {
          violations.add(new Violation(each.getField(), each.getDescription()));
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      addSuppressed(unreadable);
    }
  }

  /** No model was asked: a sidecar that shuts down refused the call. */
  boolean neverRan() {
    return reason.equals("DRAINING");
  }

  @Override
  public String getMessage() {
    return (reason.isEmpty() ? code.name() : reason) + ": " + message;
  }

  /** Returns the gRPC status. */
  public Status.Code code() {
    return code;
  }

  /** Returns google.rpc.ErrorInfo's reason ("ALL_MODELS_FAILED", ...); "" where the sidecar was not reached. */
  public String reason() {
    return reason;
  }

  /** Returns google.rpc.ErrorInfo's metadata. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** Returns the smallest wait that may help. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /** Returns, on INVALID_REQUEST, which fields are wrong. */
  public List<Violation> violations() {
    return List.copyOf(violations);
  }

  /** Returns the `failed` event, with every attempt, its class and cost. */
  public Optional<Failure> failure() {
    return Optional.ofNullable(failure);
  }

  /** Returns every request that was sent to a provider, in order. */
  public List<Attempt> attempts() {
    return failure == null ? List.of() : failure.getAttemptsList();
  }
}
