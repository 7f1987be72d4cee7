package io.github.atlassidecar.api.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Router runs beside one agent pod, on loopback or a Unix socket.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class RouterGrpc {

  private RouterGrpc() {}

  public static final java.lang.String SERVICE_NAME = "atlas_api.v1.Router";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SelectRequest,
      io.github.atlassidecar.api.v1.SelectResponse> getSelectMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Select",
      requestType = io.github.atlassidecar.api.v1.SelectRequest.class,
      responseType = io.github.atlassidecar.api.v1.SelectResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SelectRequest,
      io.github.atlassidecar.api.v1.SelectResponse> getSelectMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SelectRequest, io.github.atlassidecar.api.v1.SelectResponse> getSelectMethod;
    if ((getSelectMethod = RouterGrpc.getSelectMethod) == null) {
      synchronized (RouterGrpc.class) {
        if ((getSelectMethod = RouterGrpc.getSelectMethod) == null) {
          RouterGrpc.getSelectMethod = getSelectMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.SelectRequest, io.github.atlassidecar.api.v1.SelectResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Select"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SelectRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SelectResponse.getDefaultInstance()))
              .setSchemaDescriptor(new RouterMethodDescriptorSupplier("Select"))
              .build();
        }
      }
    }
    return getSelectMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GenerateRequest,
      io.github.atlassidecar.api.v1.GenerateEvent> getGenerateMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Generate",
      requestType = io.github.atlassidecar.api.v1.GenerateRequest.class,
      responseType = io.github.atlassidecar.api.v1.GenerateEvent.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GenerateRequest,
      io.github.atlassidecar.api.v1.GenerateEvent> getGenerateMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GenerateRequest, io.github.atlassidecar.api.v1.GenerateEvent> getGenerateMethod;
    if ((getGenerateMethod = RouterGrpc.getGenerateMethod) == null) {
      synchronized (RouterGrpc.class) {
        if ((getGenerateMethod = RouterGrpc.getGenerateMethod) == null) {
          RouterGrpc.getGenerateMethod = getGenerateMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.GenerateRequest, io.github.atlassidecar.api.v1.GenerateEvent>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Generate"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.GenerateRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.GenerateEvent.getDefaultInstance()))
              .setSchemaDescriptor(new RouterMethodDescriptorSupplier("Generate"))
              .build();
        }
      }
    }
    return getGenerateMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.HealthRequest,
      io.github.atlassidecar.api.v1.HealthResponse> getHealthMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Health",
      requestType = io.github.atlassidecar.api.v1.HealthRequest.class,
      responseType = io.github.atlassidecar.api.v1.HealthResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.HealthRequest,
      io.github.atlassidecar.api.v1.HealthResponse> getHealthMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.HealthRequest, io.github.atlassidecar.api.v1.HealthResponse> getHealthMethod;
    if ((getHealthMethod = RouterGrpc.getHealthMethod) == null) {
      synchronized (RouterGrpc.class) {
        if ((getHealthMethod = RouterGrpc.getHealthMethod) == null) {
          RouterGrpc.getHealthMethod = getHealthMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.HealthRequest, io.github.atlassidecar.api.v1.HealthResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Health"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.HealthRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.HealthResponse.getDefaultInstance()))
              .setSchemaDescriptor(new RouterMethodDescriptorSupplier("Health"))
              .build();
        }
      }
    }
    return getHealthMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static RouterStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RouterStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RouterStub>() {
        @java.lang.Override
        public RouterStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RouterStub(channel, callOptions);
        }
      };
    return RouterStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static RouterBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RouterBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RouterBlockingV2Stub>() {
        @java.lang.Override
        public RouterBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RouterBlockingV2Stub(channel, callOptions);
        }
      };
    return RouterBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static RouterBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RouterBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RouterBlockingStub>() {
        @java.lang.Override
        public RouterBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RouterBlockingStub(channel, callOptions);
        }
      };
    return RouterBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static RouterFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RouterFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RouterFutureStub>() {
        @java.lang.Override
        public RouterFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RouterFutureStub(channel, callOptions);
        }
      };
    return RouterFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Which model should serve this, in what fallback order, and why. Calls no provider, costs nothing.
     * </pre>
     */
    default void select(io.github.atlassidecar.api.v1.SelectRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SelectResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSelectMethod(), responseObserver);
    }

    /**
     * <pre>
     * Select, then run along the fallback chain. The last event is `completed` where the call ends OK, and `failed`
     * where it ends with another status and the caller is still there (details of that size do not fit in trailers).
     * </pre>
     */
    default void generate(io.github.atlassidecar.api.v1.GenerateRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GenerateEvent> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGenerateMethod(), responseObserver);
    }

    /**
     * <pre>
     * What this sidecar knows now of its providers, models, budget and itself.
     * </pre>
     */
    default void health(io.github.atlassidecar.api.v1.HealthRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.HealthResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getHealthMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service Router.
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public static abstract class RouterImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return RouterGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service Router.
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public static final class RouterStub
      extends io.grpc.stub.AbstractAsyncStub<RouterStub> {
    private RouterStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RouterStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RouterStub(channel, callOptions);
    }

    /**
     * <pre>
     * Which model should serve this, in what fallback order, and why. Calls no provider, costs nothing.
     * </pre>
     */
    public void select(io.github.atlassidecar.api.v1.SelectRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SelectResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSelectMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Select, then run along the fallback chain. The last event is `completed` where the call ends OK, and `failed`
     * where it ends with another status and the caller is still there (details of that size do not fit in trailers).
     * </pre>
     */
    public void generate(io.github.atlassidecar.api.v1.GenerateRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GenerateEvent> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getGenerateMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * What this sidecar knows now of its providers, models, budget and itself.
     * </pre>
     */
    public void health(io.github.atlassidecar.api.v1.HealthRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.HealthResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getHealthMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service Router.
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public static final class RouterBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<RouterBlockingV2Stub> {
    private RouterBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RouterBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RouterBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Which model should serve this, in what fallback order, and why. Calls no provider, costs nothing.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.SelectResponse select(io.github.atlassidecar.api.v1.SelectRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSelectMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Select, then run along the fallback chain. The last event is `completed` where the call ends OK, and `failed`
     * where it ends with another status and the caller is still there (details of that size do not fit in trailers).
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.atlassidecar.api.v1.GenerateEvent>
        generate(io.github.atlassidecar.api.v1.GenerateRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getGenerateMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * What this sidecar knows now of its providers, models, budget and itself.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.HealthResponse health(io.github.atlassidecar.api.v1.HealthRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getHealthMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service Router.
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public static final class RouterBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<RouterBlockingStub> {
    private RouterBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RouterBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RouterBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Which model should serve this, in what fallback order, and why. Calls no provider, costs nothing.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.SelectResponse select(io.github.atlassidecar.api.v1.SelectRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSelectMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Select, then run along the fallback chain. The last event is `completed` where the call ends OK, and `failed`
     * where it ends with another status and the caller is still there (details of that size do not fit in trailers).
     * </pre>
     */
    public java.util.Iterator<io.github.atlassidecar.api.v1.GenerateEvent> generate(
        io.github.atlassidecar.api.v1.GenerateRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getGenerateMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * What this sidecar knows now of its providers, models, budget and itself.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.HealthResponse health(io.github.atlassidecar.api.v1.HealthRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getHealthMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service Router.
   * <pre>
   * Router runs beside one agent pod, on loopback or a Unix socket.
   * </pre>
   */
  public static final class RouterFutureStub
      extends io.grpc.stub.AbstractFutureStub<RouterFutureStub> {
    private RouterFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RouterFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RouterFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Which model should serve this, in what fallback order, and why. Calls no provider, costs nothing.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.SelectResponse> select(
        io.github.atlassidecar.api.v1.SelectRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSelectMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * What this sidecar knows now of its providers, models, budget and itself.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.HealthResponse> health(
        io.github.atlassidecar.api.v1.HealthRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getHealthMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_SELECT = 0;
  private static final int METHODID_GENERATE = 1;
  private static final int METHODID_HEALTH = 2;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_SELECT:
          serviceImpl.select((io.github.atlassidecar.api.v1.SelectRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SelectResponse>) responseObserver);
          break;
        case METHODID_GENERATE:
          serviceImpl.generate((io.github.atlassidecar.api.v1.GenerateRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GenerateEvent>) responseObserver);
          break;
        case METHODID_HEALTH:
          serviceImpl.health((io.github.atlassidecar.api.v1.HealthRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.HealthResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getSelectMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.SelectRequest,
              io.github.atlassidecar.api.v1.SelectResponse>(
                service, METHODID_SELECT)))
        .addMethod(
          getGenerateMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.GenerateRequest,
              io.github.atlassidecar.api.v1.GenerateEvent>(
                service, METHODID_GENERATE)))
        .addMethod(
          getHealthMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.HealthRequest,
              io.github.atlassidecar.api.v1.HealthResponse>(
                service, METHODID_HEALTH)))
        .build();
  }

  private static abstract class RouterBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    RouterBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.atlassidecar.api.v1.RouterOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("Router");
    }
  }

  private static final class RouterFileDescriptorSupplier
      extends RouterBaseDescriptorSupplier {
    RouterFileDescriptorSupplier() {}
  }

  private static final class RouterMethodDescriptorSupplier
      extends RouterBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    RouterMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (RouterGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new RouterFileDescriptorSupplier())
              .addMethod(getSelectMethod())
              .addMethod(getGenerateMethod())
              .addMethod(getHealthMethod())
              .build();
        }
      }
    }
    return result;
  }
}
