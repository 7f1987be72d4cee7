package io.github.atlassidecar.api.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
 * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
 * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
 * Rules that keep leases safe under loss, delay and repetition:
 * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
 * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
 * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
 * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
 *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class BudgetGrpc {

  private BudgetGrpc() {}

  public static final java.lang.String SERVICE_NAME = "atlas_api.v1.Budget";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SyncRequest,
      io.github.atlassidecar.api.v1.SyncResponse> getSyncMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Sync",
      requestType = io.github.atlassidecar.api.v1.SyncRequest.class,
      responseType = io.github.atlassidecar.api.v1.SyncResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SyncRequest,
      io.github.atlassidecar.api.v1.SyncResponse> getSyncMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SyncRequest, io.github.atlassidecar.api.v1.SyncResponse> getSyncMethod;
    if ((getSyncMethod = BudgetGrpc.getSyncMethod) == null) {
      synchronized (BudgetGrpc.class) {
        if ((getSyncMethod = BudgetGrpc.getSyncMethod) == null) {
          BudgetGrpc.getSyncMethod = getSyncMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.SyncRequest, io.github.atlassidecar.api.v1.SyncResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Sync"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SyncRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SyncResponse.getDefaultInstance()))
              .setSchemaDescriptor(new BudgetMethodDescriptorSupplier("Sync"))
              .build();
        }
      }
    }
    return getSyncMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ReserveRequest,
      io.github.atlassidecar.api.v1.ReserveResponse> getReserveMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Reserve",
      requestType = io.github.atlassidecar.api.v1.ReserveRequest.class,
      responseType = io.github.atlassidecar.api.v1.ReserveResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ReserveRequest,
      io.github.atlassidecar.api.v1.ReserveResponse> getReserveMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ReserveRequest, io.github.atlassidecar.api.v1.ReserveResponse> getReserveMethod;
    if ((getReserveMethod = BudgetGrpc.getReserveMethod) == null) {
      synchronized (BudgetGrpc.class) {
        if ((getReserveMethod = BudgetGrpc.getReserveMethod) == null) {
          BudgetGrpc.getReserveMethod = getReserveMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.ReserveRequest, io.github.atlassidecar.api.v1.ReserveResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Reserve"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.ReserveRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.ReserveResponse.getDefaultInstance()))
              .setSchemaDescriptor(new BudgetMethodDescriptorSupplier("Reserve"))
              .build();
        }
      }
    }
    return getReserveMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GetBudgetRequest,
      io.github.atlassidecar.api.v1.GetBudgetResponse> getGetBudgetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetBudget",
      requestType = io.github.atlassidecar.api.v1.GetBudgetRequest.class,
      responseType = io.github.atlassidecar.api.v1.GetBudgetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GetBudgetRequest,
      io.github.atlassidecar.api.v1.GetBudgetResponse> getGetBudgetMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.GetBudgetRequest, io.github.atlassidecar.api.v1.GetBudgetResponse> getGetBudgetMethod;
    if ((getGetBudgetMethod = BudgetGrpc.getGetBudgetMethod) == null) {
      synchronized (BudgetGrpc.class) {
        if ((getGetBudgetMethod = BudgetGrpc.getGetBudgetMethod) == null) {
          BudgetGrpc.getGetBudgetMethod = getGetBudgetMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.GetBudgetRequest, io.github.atlassidecar.api.v1.GetBudgetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetBudget"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.GetBudgetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.GetBudgetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new BudgetMethodDescriptorSupplier("GetBudget"))
              .build();
        }
      }
    }
    return getGetBudgetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ListSpendRequest,
      io.github.atlassidecar.api.v1.ListSpendResponse> getListSpendMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListSpend",
      requestType = io.github.atlassidecar.api.v1.ListSpendRequest.class,
      responseType = io.github.atlassidecar.api.v1.ListSpendResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ListSpendRequest,
      io.github.atlassidecar.api.v1.ListSpendResponse> getListSpendMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.ListSpendRequest, io.github.atlassidecar.api.v1.ListSpendResponse> getListSpendMethod;
    if ((getListSpendMethod = BudgetGrpc.getListSpendMethod) == null) {
      synchronized (BudgetGrpc.class) {
        if ((getListSpendMethod = BudgetGrpc.getListSpendMethod) == null) {
          BudgetGrpc.getListSpendMethod = getListSpendMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.ListSpendRequest, io.github.atlassidecar.api.v1.ListSpendResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListSpend"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.ListSpendRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.ListSpendResponse.getDefaultInstance()))
              .setSchemaDescriptor(new BudgetMethodDescriptorSupplier("ListSpend"))
              .build();
        }
      }
    }
    return getListSpendMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SetBudgetRequest,
      io.github.atlassidecar.api.v1.SetBudgetResponse> getSetBudgetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SetBudget",
      requestType = io.github.atlassidecar.api.v1.SetBudgetRequest.class,
      responseType = io.github.atlassidecar.api.v1.SetBudgetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SetBudgetRequest,
      io.github.atlassidecar.api.v1.SetBudgetResponse> getSetBudgetMethod() {
    io.grpc.MethodDescriptor<io.github.atlassidecar.api.v1.SetBudgetRequest, io.github.atlassidecar.api.v1.SetBudgetResponse> getSetBudgetMethod;
    if ((getSetBudgetMethod = BudgetGrpc.getSetBudgetMethod) == null) {
      synchronized (BudgetGrpc.class) {
        if ((getSetBudgetMethod = BudgetGrpc.getSetBudgetMethod) == null) {
          BudgetGrpc.getSetBudgetMethod = getSetBudgetMethod =
              io.grpc.MethodDescriptor.<io.github.atlassidecar.api.v1.SetBudgetRequest, io.github.atlassidecar.api.v1.SetBudgetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SetBudget"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SetBudgetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.atlassidecar.api.v1.SetBudgetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new BudgetMethodDescriptorSupplier("SetBudget"))
              .build();
        }
      }
    }
    return getSetBudgetMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static BudgetStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<BudgetStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<BudgetStub>() {
        @java.lang.Override
        public BudgetStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new BudgetStub(channel, callOptions);
        }
      };
    return BudgetStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static BudgetBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<BudgetBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<BudgetBlockingV2Stub>() {
        @java.lang.Override
        public BudgetBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new BudgetBlockingV2Stub(channel, callOptions);
        }
      };
    return BudgetBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static BudgetBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<BudgetBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<BudgetBlockingStub>() {
        @java.lang.Override
        public BudgetBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new BudgetBlockingStub(channel, callOptions);
        }
      };
    return BudgetBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static BudgetFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<BudgetFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<BudgetFutureStub>() {
        @java.lang.Override
        public BudgetFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new BudgetFutureStub(channel, callOptions);
        }
      };
    return BudgetFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * The sidecar's one call: report facts, show leases held, ask for more. Safe to repeat.
     * </pre>
     */
    default void sync(io.github.atlassidecar.api.v1.SyncRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SyncResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSyncMethod(), responseObserver);
    }

    /**
     * <pre>
     * A lease for one request, when too little is left for every sidecar to hold one.
     * </pre>
     */
    default void reserve(io.github.atlassidecar.api.v1.ReserveRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ReserveResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getReserveMethod(), responseObserver);
    }

    /**
     * <pre>
     * For people and dashboards.
     * </pre>
     */
    default void getBudget(io.github.atlassidecar.api.v1.GetBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GetBudgetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetBudgetMethod(), responseObserver);
    }

    /**
     */
    default void listSpend(io.github.atlassidecar.api.v1.ListSpendRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ListSpendResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListSpendMethod(), responseObserver);
    }

    /**
     */
    default void setBudget(io.github.atlassidecar.api.v1.SetBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SetBudgetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSetBudgetMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service Budget.
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public static abstract class BudgetImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return BudgetGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service Budget.
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public static final class BudgetStub
      extends io.grpc.stub.AbstractAsyncStub<BudgetStub> {
    private BudgetStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected BudgetStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new BudgetStub(channel, callOptions);
    }

    /**
     * <pre>
     * The sidecar's one call: report facts, show leases held, ask for more. Safe to repeat.
     * </pre>
     */
    public void sync(io.github.atlassidecar.api.v1.SyncRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SyncResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSyncMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * A lease for one request, when too little is left for every sidecar to hold one.
     * </pre>
     */
    public void reserve(io.github.atlassidecar.api.v1.ReserveRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ReserveResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getReserveMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * For people and dashboards.
     * </pre>
     */
    public void getBudget(io.github.atlassidecar.api.v1.GetBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GetBudgetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetBudgetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     */
    public void listSpend(io.github.atlassidecar.api.v1.ListSpendRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ListSpendResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListSpendMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     */
    public void setBudget(io.github.atlassidecar.api.v1.SetBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SetBudgetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSetBudgetMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service Budget.
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public static final class BudgetBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<BudgetBlockingV2Stub> {
    private BudgetBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected BudgetBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new BudgetBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * The sidecar's one call: report facts, show leases held, ask for more. Safe to repeat.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.SyncResponse sync(io.github.atlassidecar.api.v1.SyncRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSyncMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * A lease for one request, when too little is left for every sidecar to hold one.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.ReserveResponse reserve(io.github.atlassidecar.api.v1.ReserveRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getReserveMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * For people and dashboards.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.GetBudgetResponse getBudget(io.github.atlassidecar.api.v1.GetBudgetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetBudgetMethod(), getCallOptions(), request);
    }

    /**
     */
    public io.github.atlassidecar.api.v1.ListSpendResponse listSpend(io.github.atlassidecar.api.v1.ListSpendRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListSpendMethod(), getCallOptions(), request);
    }

    /**
     */
    public io.github.atlassidecar.api.v1.SetBudgetResponse setBudget(io.github.atlassidecar.api.v1.SetBudgetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSetBudgetMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service Budget.
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public static final class BudgetBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<BudgetBlockingStub> {
    private BudgetBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected BudgetBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new BudgetBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * The sidecar's one call: report facts, show leases held, ask for more. Safe to repeat.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.SyncResponse sync(io.github.atlassidecar.api.v1.SyncRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSyncMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * A lease for one request, when too little is left for every sidecar to hold one.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.ReserveResponse reserve(io.github.atlassidecar.api.v1.ReserveRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getReserveMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * For people and dashboards.
     * </pre>
     */
    public io.github.atlassidecar.api.v1.GetBudgetResponse getBudget(io.github.atlassidecar.api.v1.GetBudgetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetBudgetMethod(), getCallOptions(), request);
    }

    /**
     */
    public io.github.atlassidecar.api.v1.ListSpendResponse listSpend(io.github.atlassidecar.api.v1.ListSpendRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListSpendMethod(), getCallOptions(), request);
    }

    /**
     */
    public io.github.atlassidecar.api.v1.SetBudgetResponse setBudget(io.github.atlassidecar.api.v1.SetBudgetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSetBudgetMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service Budget.
   * <pre>
   * One service for an organisation's whole fleet. Sidecars spend from leases that they hold, so no request
   * waits for it; what they spent reaches its ledger exactly once. Calls carry `authorization: Bearer TOKEN` (or mTLS): a
   * sidecar's token is bound to a subtree, SetBudget needs an administrator's.
   * Rules that keep leases safe under loss, delay and repetition:
   * - A lease belongs to one incarnation and is delivered again only to it. A want_id is granted at most once; a Denial is not remembered.
   * - A sidecar ignores a lease_id that it released, until a Sync sent after its Release was applied is answered.
   * - After `final`, or a Finish that names it, an incarnation gets no grant. Finish must name an incarnation of the same sidecar_id.
   * - Facts recovered from a predecessor's log are sent under the predecessor's (incarnation, seq) only where the log holds them; what
   *   recovery itself concludes (an estimated Settle for an open reservation) is a fact of the new incarnation.
   * </pre>
   */
  public static final class BudgetFutureStub
      extends io.grpc.stub.AbstractFutureStub<BudgetFutureStub> {
    private BudgetFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected BudgetFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new BudgetFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * The sidecar's one call: report facts, show leases held, ask for more. Safe to repeat.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.SyncResponse> sync(
        io.github.atlassidecar.api.v1.SyncRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSyncMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * A lease for one request, when too little is left for every sidecar to hold one.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.ReserveResponse> reserve(
        io.github.atlassidecar.api.v1.ReserveRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getReserveMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * For people and dashboards.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.GetBudgetResponse> getBudget(
        io.github.atlassidecar.api.v1.GetBudgetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetBudgetMethod(), getCallOptions()), request);
    }

    /**
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.ListSpendResponse> listSpend(
        io.github.atlassidecar.api.v1.ListSpendRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListSpendMethod(), getCallOptions()), request);
    }

    /**
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.atlassidecar.api.v1.SetBudgetResponse> setBudget(
        io.github.atlassidecar.api.v1.SetBudgetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSetBudgetMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_SYNC = 0;
  private static final int METHODID_RESERVE = 1;
  private static final int METHODID_GET_BUDGET = 2;
  private static final int METHODID_LIST_SPEND = 3;
  private static final int METHODID_SET_BUDGET = 4;

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
        case METHODID_SYNC:
          serviceImpl.sync((io.github.atlassidecar.api.v1.SyncRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SyncResponse>) responseObserver);
          break;
        case METHODID_RESERVE:
          serviceImpl.reserve((io.github.atlassidecar.api.v1.ReserveRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ReserveResponse>) responseObserver);
          break;
        case METHODID_GET_BUDGET:
          serviceImpl.getBudget((io.github.atlassidecar.api.v1.GetBudgetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.GetBudgetResponse>) responseObserver);
          break;
        case METHODID_LIST_SPEND:
          serviceImpl.listSpend((io.github.atlassidecar.api.v1.ListSpendRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.ListSpendResponse>) responseObserver);
          break;
        case METHODID_SET_BUDGET:
          serviceImpl.setBudget((io.github.atlassidecar.api.v1.SetBudgetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.atlassidecar.api.v1.SetBudgetResponse>) responseObserver);
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
          getSyncMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.SyncRequest,
              io.github.atlassidecar.api.v1.SyncResponse>(
                service, METHODID_SYNC)))
        .addMethod(
          getReserveMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.ReserveRequest,
              io.github.atlassidecar.api.v1.ReserveResponse>(
                service, METHODID_RESERVE)))
        .addMethod(
          getGetBudgetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.GetBudgetRequest,
              io.github.atlassidecar.api.v1.GetBudgetResponse>(
                service, METHODID_GET_BUDGET)))
        .addMethod(
          getListSpendMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.ListSpendRequest,
              io.github.atlassidecar.api.v1.ListSpendResponse>(
                service, METHODID_LIST_SPEND)))
        .addMethod(
          getSetBudgetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.atlassidecar.api.v1.SetBudgetRequest,
              io.github.atlassidecar.api.v1.SetBudgetResponse>(
                service, METHODID_SET_BUDGET)))
        .build();
  }

  private static abstract class BudgetBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    BudgetBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.atlassidecar.api.v1.BudgetOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("Budget");
    }
  }

  private static final class BudgetFileDescriptorSupplier
      extends BudgetBaseDescriptorSupplier {
    BudgetFileDescriptorSupplier() {}
  }

  private static final class BudgetMethodDescriptorSupplier
      extends BudgetBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    BudgetMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (BudgetGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new BudgetFileDescriptorSupplier())
              .addMethod(getSyncMethod())
              .addMethod(getReserveMethod())
              .addMethod(getGetBudgetMethod())
              .addMethod(getListSpendMethod())
              .addMethod(getSetBudgetMethod())
              .build();
        }
      }
    }
    return result;
  }
}
