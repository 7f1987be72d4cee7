package io.github.atlassidecar.client;

import io.github.atlassidecar.api.v1.Completed;
import io.github.atlassidecar.api.v1.GenerateEvent;
import io.github.atlassidecar.api.v1.GenerateRequest;
import io.github.atlassidecar.api.v1.Part;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Iterator;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * One answer while it comes. Read it once, in one of three ways: iterate it for events, or use {@link #text} or {@link
 * #collect}. Close it when you stop reading early: that cancels the call.
 */
public final class Answer implements Iterable<GenerateEvent>, AutoCloseable {
  private static final long FIRST_PAUSE_MS = 100;
  private static final long LONGEST_PAUSE_MS = 1000;

  private final AtlasRouter router;
  private final GenerateRequest request;
  private final Map<String, String> metadata;
  private final long deadlineNanos;
  private final long patienceNanos;
  private final Context.CancellableContext context = Context.current().withCancellation();

  Answer(AtlasRouter router, GenerateRequest request, Duration timeout, Map<String, String> metadata) {
    this.router = router;
    this.request = request;
    this.metadata = Map.copyOf(metadata);
    long now = System.nanoTime();
    this.deadlineNanos = now + timeout.toNanos();
    this.patienceNanos = now + Math.min(timeout.toNanos(), router.patience().toNanos());
  }

  /** Returns every event, the last one too; after it hasNext throws AtlasException where the call failed. */
  @Override
  public Iterator<GenerateEvent> iterator() {
    return new Events();
  }

  /** Hands out the text as it comes; throws AtlasException, and TextWithdrawnException when all text so far is void. */
  public void text(Consumer<String> out) {
    text(
        out,
        () -> {
          throw new TextWithdrawnException();
        });
  }

  /**
   * Hands out the text as it comes; throws AtlasException. With a policy that may start over (RESTART, CONTINUE) {@code
   * onReset} is called when all text so far is void. With BUFFER the whole text comes at once.
   */
  public void text(Consumer<String> out, Runnable onReset) {
    try (this) {
      boolean said = false;
      for (GenerateEvent event : this) {
        if (event.hasDelta() && event.getDelta().hasText()) {
          said = true;
          out.accept(event.getDelta().getText());
        } else if (event.hasReset() && said) {
          said = false;
          onReset.run();
        } else if (event.hasCompleted() && !said) {
          event.getCompleted().getMessage().getPartsList().stream()
              .filter(Part::hasText)
              .forEach(part -> out.accept(part.getText()));
        }
      }
    }
  }

  /** Returns the end of the answer: the whole message, the model, usage, cost, attempts; throws AtlasException. */
  public Completed collect() {
    Completed completed = null;
    for (GenerateEvent event : this) {
      if (event.hasCompleted()) {
        completed = event.getCompleted();
      }
    }
    if (completed == null) {
      throw new AtlasException(Status.Code.INTERNAL, "the stream ended without `completed`", null, null);
    }
    return completed;
  }

  /** Cancels the call; whoever reads it gets AtlasException with code CANCELLED. From any thread. */
  public void cancel() {
    context.cancel(null);
  }

  /** Cancels the call where it still runs. */
  @Override
  public void close() {
    cancel();
  }

  private final class Events implements Iterator<GenerateEvent> {
    private Iterator<GenerateEvent> call;
    private GenerateEvent held; // `failed`, until it is known that the call is not sent again
    private GenerateEvent next;
    private AtlasException error;
    private long pauseMs = FIRST_PAUSE_MS;

    @Override
    public boolean hasNext() {
      if (next == null && error == null) {
        advance();
      }
      if (next == null && error != null) {
        throw error;
      }
      return next != null;
    }

    @Override
    public GenerateEvent next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      GenerateEvent event = next;
      next = null;
      return event;
    }

    private void advance() {
      while (true) {
        try {
          if (call == null) {
            call = start();
          }
          while (call.hasNext()) {
            GenerateEvent event = call.next();
            if (!event.hasFailed()) {
              next = event;
              return;
            }
            held = event;
          }
          context.cancel(null); // it is over: let go of it
          return;
        } catch (StatusRuntimeException raised) {
          AtlasException problem = AtlasException.of(raised, held == null ? null : held.getFailed());
          if (!pause(problem)) {
            error = problem;
            next = held;
            return;
          }
          call = null;
          held = null;
        }
      }
    }

    private Iterator<GenerateEvent> start() {
      if (!context.isCancelled()) {
        router.awaitReady(patienceNanos);
      }
      Duration left = Duration.ofNanos(deadlineNanos - System.nanoTime());
      Context before = context.attach();
      try {
        return AtlasRouter.with(router.stub(), left, metadata).generate(request);
      } finally {
        context.detach(before);
      }
    }

    /** Waits before the call is sent again; returns false where it must not be. */
    private boolean pause(AtlasException problem) {
      long waitMs = Math.max(pauseMs, problem.retryAfter().map(Duration::toMillis).orElse(0L));
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      long ends = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(waitMs);
      if (!problem.neverRan() || context.isCancelled() || ends >= patienceNanos) {
        return false;
      }
      try {
        Thread.sleep(waitMs);
        return true;
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
        return false;
      }
    }
  }
}
