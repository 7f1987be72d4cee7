package io.github.atlassidecar.examples;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Struct;
import com.google.protobuf.util.JsonFormat;
import io.github.atlassidecar.api.v1.Attempt;
import io.github.atlassidecar.api.v1.ChatMessage;
import io.github.atlassidecar.api.v1.Completed;
import io.github.atlassidecar.api.v1.GenerateEvent;
import io.github.atlassidecar.api.v1.GenerateRequest;
import io.github.atlassidecar.api.v1.HopFailed;
import io.github.atlassidecar.api.v1.Part;
import io.github.atlassidecar.api.v1.Requirements;
import io.github.atlassidecar.api.v1.StreamPolicy;
import io.github.atlassidecar.api.v1.Tool;
import io.github.atlassidecar.api.v1.ToolCall;
import io.github.atlassidecar.api.v1.ToolResult;
import io.github.atlassidecar.client.Answer;
import io.github.atlassidecar.client.AtlasException;
import io.github.atlassidecar.client.AtlasRouter;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * An agent that asks its sidecar, calls a tool, and says what happened on the way.
 *
 * <p>{@code Agent [--role R] [--timeout SECONDS] QUESTION}, with ATLAS_TARGET if the sidecar is elsewhere. The answer is on
 * stdout, notes in brackets are on stderr. Ctrl-C cancels.
 */
public final class Agent {
  private static final int MAX_TURNS = 4;
  private static final Tool TOOL =
      Tool.newBuilder()
          .setName("get_weather")
          .setDescription("Returns the weather of a city.")
          .setParametersJsonSchema(
              "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": [\"city\"]}")
          .build();

  private final AtomicReference<Answer> current = new AtomicReference<>();

  private Agent() {}

  public static void main(String[] arguments) {
    String role = "worker";
    String question = "";
    double timeout = 120;
    for (int i = 0; i < arguments.length; i++) {
      switch (arguments[i]) {
        case "--role" -> role = arguments[++i];
        case "--timeout" -> timeout = Double.parseDouble(arguments[++i]);
        default -> question = arguments[i];
      }
    }
    GenerateRequest.Builder request =
        GenerateRequest.newBuilder()
            .setRequirements(Requirements.newBuilder().setAgentType(role))
            .addMessages(ChatMessage.newBuilder().setRole(ChatMessage.Role.ROLE_USER).addParts(text(question)))
            .addTools(TOOL)
            .setStreamPolicy(StreamPolicy.STREAM_POLICY_RESTART);
    Agent agent = new Agent();
    CountDownLatch ended = new CountDownLatch(1);
    Thread cancelling = new Thread(() -> agent.cancel(ended)); // the JVM runs it on Ctrl-C, and ends after it
    Runtime.getRuntime().addShutdownHook(cancelling);
    int status = agent.run(request, Duration.ofMillis((long) (timeout * 1000)));
    ended.countDown();
    Runtime.getRuntime().halt(status); // halt, as a shutdown by signal would have a status of its own
  }

  private void cancel(CountDownLatch ended) {
    Answer answer = current.get();
    if (answer != null) {
      answer.cancel();
    }
    try {
      ended.await(2, TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private int run(GenerateRequest.Builder request, Duration timeout) {
    try (AtlasRouter router = AtlasRouter.connect(null)) {
      converse(router, request, timeout);
      return 0;
    } catch (AtlasException error) {
      explain(error);
      return error.code() == Status.Code.CANCELLED ? 130 : 1;
    } finally {
      System.out.flush();
    }
  }

  /** Asks, runs the tools, and asks again until there is an answer; throws AtlasException. */
  private void converse(AtlasRouter router, GenerateRequest.Builder request, Duration timeout) {
    String parent = System.getenv("TRACEPARENT");
    if (parent == null) {
      byte[] id = new byte[24];
      ThreadLocalRandom.current().nextBytes(id);
      String hex = HexFormat.of().formatHex(id);
      parent = "00-" + hex.substring(0, 32) + "-" + hex.substring(32) + "-01";
    }
    long ends = System.nanoTime() + timeout.toNanos();
    for (int turn = 0; turn < MAX_TURNS; turn++) {
      Duration left = Duration.ofNanos(ends - System.nanoTime());
      Answer answer = router.generate(request.build(), left, Map.of("traceparent", parent));
      current.set(answer);
      Completed completed = show(answer);
      request.addMessages(completed.getMessage());
      List<Part> parts = results(completed.getMessage());
      if (parts.isEmpty()) {
        System.out.println();
        String cost = String.format(Locale.ROOT, "%.6f", completed.getCost().getNanoUsd() / 1e9);
        note(completed.getModel().getId() + " answered for " + cost + " USD, trace " + completed.getTraceId());
        return;
      }
      request.addMessages(ChatMessage.newBuilder().setRole(ChatMessage.Role.ROLE_TOOL).addAllParts(parts));
    }
    note("no answer after " + MAX_TURNS + " turns");
  }

  /** Prints the answer while it comes; returns its end. */
  private static Completed show(Answer answer) {
    Completed completed = Completed.getDefaultInstance();
    for (GenerateEvent event : answer) {
      switch (event.getEventCase()) {
        case DELTA -> System.out.print(event.getDelta().getText());
        case HOP_FAILED -> {
          HopFailed hop = event.getHopFailed();
          String kind = hop.getErrorClass().name().replace("ERROR_CLASS_", "").toLowerCase(Locale.ROOT);
          String then = hop.hasNext() ? hop.getNext().getId() + " is asked next" : "no model is left";
          note(hop.getModel().getId() + " failed: " + kind + "; " + then);
        }
        case RESET -> {
          System.out.println();
          note("starting over");
        }
        case COMPLETED -> completed = event.getCompleted();
        default -> {} // `started`, and what a later version adds
      }
      System.out.flush();
    }
    return completed;
  }

  /** Runs the tools that a message calls; returns their results as parts. */
  private static List<Part> results(ChatMessage message) {
    List<Part> parts = new ArrayList<>();
    for (Part part : message.getPartsList()) {
      if (part.hasToolCall()) {
        ToolCall call = part.getToolCall();
        String output = weather(call.getArgumentsJson());
        note(call.getName() + "(" + call.getArgumentsJson() + ") = " + output);
        ToolResult.Builder result = ToolResult.newBuilder().setCallId(call.getId()).setName(call.getName());
        parts.add(Part.newBuilder().setToolResult(result.addParts(text(output))).build());
      }
    }
    return parts;
  }

  /** Stands in for a real tool. */
  private static String weather(String argumentsJson) {
    Struct.Builder arguments = Struct.newBuilder();
    try {
      JsonFormat.parser().merge(argumentsJson, arguments);
    } catch (InvalidProtocolBufferException noJson) {
      return "the arguments are no JSON";
    }
    return "rain, 12 C in " + arguments.getFieldsOrThrow("city").getStringValue();
  }

  /** Says why there is no answer, and what helps. */
  private static void explain(AtlasException error) {
    note("no answer: " + error.getMessage());
    if (error.reason().equals("BUDGET_EXHAUSTED")) {
      note("the budget is used up: ask for more, or wait for the next day");
    }
    if (error.reason().equals("ALL_MODELS_FAILED")) {
      for (Attempt attempt : error.attempts()) {
        note("hop " + attempt.getHop() + ", " + attempt.getModel().getId() + ": HTTP " + attempt.getHttpStatus());
      }
    }
    error.retryAfter().ifPresent(wait -> note("trying again may help in " + wait.toSeconds() + " s"));
  }

  private static Part text(String text) {
    return Part.newBuilder().setText(text).build();
  }

  private static void note(String text) {
    System.err.println("[" + text + "]");
  }
}
