{{- define "atlas-agent-demo.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "atlas-agent-demo.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "atlas-agent-demo.labels" -}}
{{ include "atlas-agent-demo.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The pod's spec, for Deployment, Job and test alike. Takes {root, restartPolicy, once}. */}}
{{- define "atlas-agent-demo.pod" -}}
{{- $root := .root -}}
{{- with .root.Values -}}
restartPolicy: {{ $.restartPolicy }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds }}
securityContext:
  {{- if .fsGroup }}
  fsGroup: {{ .fsGroup }}
  {{- end }}
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "atlas-agent-demo.selector" $root | nindent 14 }}
initContainers:
  {{- include "atlas-sidecar.container" $root | nindent 2 }}
containers:
  - name: agent
    image: {{ include "atlas-sidecar.image" (dict "image" .image "version" $root.Chart.AppVersion) | quote }}
    imagePullPolicy: {{ .image.pullPolicy }}
    command: [python, /opt/agent/agent.py]
    args:
      - --prompt
      - {{ .agent.prompt | quote }}
      {{- with .agent.role }}
      - --role
      - {{ . | quote }}
      {{- end }}
      {{- if $.once }}
      - --once
      {{- else }}
      - --every
      - {{ .agent.everySeconds | quote }}
      {{- end }}
    env:
      {{- include "atlas-sidecar.env" $root | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    securityContext:
      {{- include "atlas-sidecar.securityContext" . | nindent 6 }}
    volumeMounts:
      {{- include "atlas-sidecar.mounts" $root | nindent 6 }}
      - name: agent
        mountPath: /opt/agent
        readOnly: true
volumes:
  {{- include "atlas-sidecar.volumes" $root | nindent 2 }}
  - name: agent
    configMap:
      name: {{ include "atlas-agent-demo.name" $root }}
{{- end }}
{{- end -}}

{{/* The pod's template: metadata and spec. */}}
{{- define "atlas-agent-demo.template" -}}
metadata:
  labels:
    {{- include "atlas-agent-demo.labels" .root | nindent 4 }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: agent
    {{- include "atlas-sidecar.annotations" .root | nindent 4 }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "atlas-agent-demo.pod" . | nindent 2 }}
{{- end -}}
