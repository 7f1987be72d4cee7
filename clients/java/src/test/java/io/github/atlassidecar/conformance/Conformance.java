package io.github.atlassidecar.conformance;

import com.google.protobuf.ListValue;
import com.google.protobuf.Message;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import io.github.atlassidecar.api.v1.GenerateEvent;
import io.github.atlassidecar.api.v1.GenerateRequest;
import io.github.atlassidecar.api.v1.SelectRequest;
import io.github.atlassidecar.api.v1.SelectResponse;
import io.github.atlassidecar.client.Answer;
import io.github.atlassidecar.client.AtlasException;
import io.github.atlassidecar.client.AtlasRouter;
import io.github.atlassidecar.client.TextWithdrawnException;
import io.grpc.InsecureChannelCredentials;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;

/**
 * The conformance runner: does what a file says and prints what it saw, as JSON. {@code --target ADDRESS FILE};
 * clients/conformance/README.md has the format.
 */
public final class Conformance {
  private final Struct.Builder seen = Struct.newBuilder();
  private final ListValue.Builder events = ListValue.newBuilder();
  private final StringBuilder text = new StringBuilder();

  private Conformance() {}

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 3 || !arguments[0].equals("--target")) {
      throw new IllegalArgumentException("usage: --target ADDRESS FILE");
    }
    ListValue.Builder steps = ListValue.newBuilder();
    JsonFormat.parser().merge(Files.readString(Path.of(arguments[2])), steps);
    ListValue.Builder results = ListValue.newBuilder();
    try (AtlasRouter shared = AtlasRouter.connect(arguments[1])) {
      for (Value step : steps.getValuesList()) {
        results.addValues(Value.newBuilder().setStructValue(run(shared, step.getStructValue())));
      }
    }
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    out.println(JsonFormat.printer().omittingInsignificantWhitespace().print(results));
    System.exit(0); // Netty's threads may linger
  }

  private static Struct run(AtlasRouter shared, Struct step) throws IOException {
    Conformance one = new Conformance();
    one.put("name", string(step, "name")).put("status", "OK").put("reason", "").put("message", "");
    one.seen.putFields("retry_after_s", Value.newBuilder().setNullValue(NullValue.NULL_VALUE).build());
    one.seen.putFields("violations", list(ListValue.newBuilder()));
    one.seen.putFields("attempts", Value.newBuilder().setNumberValue(0).build());
    String other = string(step, "target");
    Duration patience = Duration.ofMillis(number(step, "patience_ms"));
    AtlasRouter router =
        other.isEmpty() ? shared : AtlasRouter.connect(other, InsecureChannelCredentials.create(), patience);
    try {
      one.read(router, step);
    } catch (TextWithdrawnException withdrawn) {
      one.put("status", "WITHDRAWN");
    } catch (AtlasException error) {
      one.note(error);
    }
    if (router != shared) {
      router.close();
    }
    return one.seen.putFields("events", list(one.events)).putFields("text", value(one.text.toString())).build();
  }

  private void read(AtlasRouter router, Struct step) throws IOException {
    Duration timeout = Duration.ofMillis(number(step, "timeout_ms"));
    Map<String, String> metadata = new TreeMap<>();
    step.getFieldsOrThrow("metadata").getStructValue().getFieldsMap()
        .forEach((key, each) -> metadata.put(key, each.getStringValue()));
    String raw = JsonFormat.printer().print(step.getFieldsOrThrow("request").getStructValue());
    String read = string(step, "read");
    if (read.equals("health")) {
      add(router.health());
      return;
    }
    if (read.equals("select")) {
      SelectRequest.Builder request = SelectRequest.newBuilder();
      JsonFormat.parser().merge(raw, request);
      add(SelectResponse.newBuilder().setDecision(router.select(request.build(), timeout, metadata)).build());
      return;
    }
    GenerateRequest.Builder request = GenerateRequest.newBuilder();
    JsonFormat.parser().merge(raw, request);
    Answer answer = router.generate(request.build(), timeout, metadata);
    switch (read) {
      case "text" -> answer.text(text::append);
      case "collect" -> add(GenerateEvent.newBuilder().setCompleted(answer.collect()).build());
      default -> {
        for (GenerateEvent event : answer) {
          add(event);
          if (event.hasDelta() && string(step, "cancel_at").equals("delta")) {
            answer.cancel();
          }
        }
      }
    }
  }

  private void add(Message message) throws IOException {
    Struct.Builder json = Struct.newBuilder();
    JsonFormat.parser().merge(JsonFormat.printer().print(message), json);
    events.addValues(Value.newBuilder().setStructValue(json));
  }

  private void note(AtlasException error) {
    put("status", error.code().name()).put("reason", error.reason()).put("message", error.getMessage());
    seen.putFields("attempts", Value.newBuilder().setNumberValue(error.attempts().size()).build());
    error.retryAfter().ifPresent(
        wait -> seen.putFields("retry_after_s", Value.newBuilder().setNumberValue(wait.toMillis() / 1000.0).build()));
    ListValue.Builder violations = ListValue.newBuilder();
    for (AtlasException.Violation each : error.violations()) {
      Struct.Builder violation = Struct.newBuilder();
      violation.putFields("field", value(each.field())).putFields("description", value(each.description()));
      violations.addValues(Value.newBuilder().setStructValue(violation));
    }
    seen.putFields("violations", list(violations));
  }

  private Conformance put(String key, String text) {
    seen.putFields(key, value(text));
    return this;
  }

  private static Value value(String text) {
    return Value.newBuilder().setStringValue(text).build();
  }

  private static Value list(ListValue.Builder values) {
    return Value.newBuilder().setListValue(values).build();
  }

  private static String string(Struct step, String key) {
    return step.getFieldsOrThrow(key).getStringValue();
  }

  private static long number(Struct step, String key) {
    return (long) step.getFieldsOrThrow(key).getNumberValue();
  }
}
