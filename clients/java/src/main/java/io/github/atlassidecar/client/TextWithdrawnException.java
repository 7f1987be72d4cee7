package io.github.atlassidecar.client;

/** Text that was already handed out is void: the answer starts over with another model. */
public final class TextWithdrawnException extends RuntimeException {
  TextWithdrawnException() {
    super("the answer starts over; pass onReset, or read the events");
  }
}
