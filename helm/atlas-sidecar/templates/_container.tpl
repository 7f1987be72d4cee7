{{/*
The sidecar in a pod template of any workload. Each include takes the parent chart's root context (`.`).

  metadata:
    annotations: {{- include "atlas-sidecar.annotations" . | nindent 8 }}      so that pods restart when they must
  spec:
    securityContext: {fsGroup: 65532}                                          only for the socket
    initContainers: {{- include "atlas-sidecar.container" . | nindent 8 }}
    containers:
      - env: {{- include "atlas-sidecar.env" . | nindent 12 }}                 only for the socket
        volumeMounts: {{- include "atlas-sidecar.mounts" . | nindent 12 }}     only for the socket
    volumes: {{- include "atlas-sidecar.volumes" . | nindent 8 }}

and one file of manifests: {{ include "atlas-sidecar.manifests" . }}
*/}}

{{/* The values of this chart below the parent's: `atlas-sidecar`, as Helm merges them. */}}
{{- define "atlas-sidecar.values" -}}
{{- index .Values "atlas-sidecar" | default dict | toYaml -}}
{{- end -}}

{{- define "atlas-sidecar.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .version }}
{{- end -}}
{{- end -}}

{{/* The version of the sidecar that this chart was made for. */}}
{{- define "atlas-sidecar.appVersion" -}}0.1.0{{- end -}}

{{- define "atlas-sidecar.securityContext" -}}
runAsNonRoot: true
{{- if .runAsUser }}
runAsUser: {{ .runAsUser }}
runAsGroup: {{ .runAsUser }}
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A list with the sidecar as a native sidecar: it starts before the pod's containers and stops after them. */}}
{{- define "atlas-sidecar.container" -}}
{{- include "atlas-sidecar.validate" . -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
- name: atlas-sidecar
  image: {{ include "atlas-sidecar.image" (dict "image" $values.image "version" (include "atlas-sidecar.appVersion" .)) | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  restartPolicy: Always
  args: [serve, --config, /etc/atlas/config/atlas.yaml{{ if $values.simulate }}, --simulate{{ end }}]
  env:
    # For `kubectl exec ... -- atlas-sidecar health`.
    {{- include "atlas-sidecar.env" . | nindent 4 }}
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: atlas-health
      containerPort: {{ $values.healthPort }}
      protocol: TCP
    {{- if $values.metricsPort }}
    - name: atlas-metrics
      containerPort: {{ $values.metricsPort }}
      protocol: TCP
    {{- end }}
  startupProbe:
    grpc:
      port: {{ $values.healthPort }}
    periodSeconds: 1
    timeoutSeconds: 2
    failureThreshold: {{ $values.startupSeconds }}
  readinessProbe:
    grpc:
      port: {{ $values.healthPort }}
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 2
  livenessProbe:
    grpc:
      port: {{ $values.healthPort }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    {{- include "atlas-sidecar.securityContext" $values | nindent 4 }}
  volumeMounts:
    - name: atlas-run
      mountPath: /run/atlas
    - name: atlas-spend
      mountPath: /var/lib/atlas
    - name: atlas-config
      mountPath: /etc/atlas/config
      readOnly: true
    {{- if include "atlas-sidecar.secretSources" $values }}
    - name: atlas-secrets
      mountPath: /etc/atlas/secrets
      readOnly: true
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A list with the volumes of the sidecar. */}}
{{- define "atlas-sidecar.volumes" -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
- name: atlas-run
  emptyDir:
    sizeLimit: 1Mi
- name: atlas-spend
  emptyDir:
    sizeLimit: {{ $values.spendLogSize }}
- name: atlas-config
  configMap:
    name: {{ include "atlas-sidecar.configMapName" . }}
{{- with include "atlas-sidecar.secretSources" $values }}
- name: atlas-secrets
  projected:
    # Only the sidecar mounts it, and without an fsGroup its user is neither owner nor group.
    defaultMode: 0444
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Where each Secret's key appears below /etc/atlas/secrets; nothing when there is none. Takes this chart's values. */}}
{{- define "atlas-sidecar.secretSources" -}}
{{- range $provider, $from := .keys }}
- secret:
    name: {{ $from.secret }}
    items:
      - key: {{ $from.key }}
        path: keys/{{ $provider }}
{{- end }}
{{- if .budgetService.address }}
{{- with .budgetService.token }}
- secret:
    name: {{ .secret }}
    items:
      - key: {{ .key }}
        path: budget/token
{{- end }}
{{- with .budgetService.ca }}
- secret:
    name: {{ .secret }}
    items:
      - key: {{ .key }}
        path: budget/ca.crt
{{- end }}
{{- with .budgetService.certificate }}
- secret:
    name: {{ . }}
    items:
      - key: tls.crt
        path: budget/tls.crt
      - key: tls.key
        path: budget/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* The agent's side: where the sidecar is (the command line and the examples read ATLAS_TARGET). */}}
{{- define "atlas-sidecar.env" -}}
- name: ATLAS_TARGET
  value: unix:/run/atlas/router.sock
{{- end -}}

{{/* The agent's side: the socket's directory; connecting needs no write access to it. */}}
{{- define "atlas-sidecar.mounts" -}}
- name: atlas-run
  mountPath: /run/atlas
  readOnly: true
{{- end -}}
