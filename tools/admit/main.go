// Admits a Pod as an API server with a MutatingAdmissionPolicy would, with the API server's own code.
//
//	admit POLICY.json < pod.json > mutated.json
//
// It compiles the policy's expressions as the server does when the policy is stored, evaluates the match conditions,
// and applies the mutations within the server's cost budget. Exit status 1 and a message: the server would refuse.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := admit(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func admit(policyFile string, in io.Reader, out io.Writer) error {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		return err
	}
	var policy admissionv1.MutatingAdmissionPolicy
	if err := yaml.UnmarshalStrict(text, &policy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	podText, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(podText, pod); err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	mutated, err := mutate(&policy, pod)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(mutated)
}

func mutate(policy *admissionv1.MutatingAdmissionPolicy, pod *corev1.Pod) (runtime.Object, error) {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	ctx := compiler.CreateContext(context.Background())
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true}
	var object runtime.Object = pod
	attributes := func() *admission.VersionedAttributes {
		record := admission.NewAttributesRecord(object, nil, gvk, pod.Namespace, pod.Name, gvr, "",
			admission.Create, &metav1.CreateOptions{}, false, nil)
		return &admission.VersionedAttributes{Attributes: record, VersionedKind: gvk, VersionedObject: object}
	}

	conditions := make([]plugincel.ExpressionAccessor, len(policy.Spec.MatchConditions))
	for i := range policy.Spec.MatchConditions {
		conditions[i] = (*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i])
	}
	matcher := matchconditions.NewMatcher(compiler.CompileCondition(conditions, options, environment.NewExpressions),
		policy.Spec.FailurePolicy, "policy", "validate", policy.Name)
	match := matcher.Match(ctx, attributes(), nil, nil)
	if match.Error != nil {
		return nil, fmt.Errorf("match conditions: %w", match.Error)
	}
	if !match.Matches {
		return object, nil
	}

	options.HasPatchTypes = true
	for _, mutation := range policy.Spec.Mutations {
		accessor := &patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}
		compiled := compiler.CompileMutatingEvaluator(accessor, options, environment.NewExpressions)
		if problems := compiled.CompilationErrors(); len(problems) > 0 {
			return nil, fmt.Errorf("mutation: %w", errors.Join(problems...))
		}
		request := patch.Request{
			MatchedResource:     gvr,
			VersionedAttributes: attributes(),
			ObjectInterfaces:    admission.NewObjectInterfacesFromScheme(scheme),
			Namespace:           &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}},
		}
		object, err = patch.NewJSONPatcher(compiled).Patch(ctx, request, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return nil, fmt.Errorf("mutation: %w", err)
		}
	}
	return object, nil
}
