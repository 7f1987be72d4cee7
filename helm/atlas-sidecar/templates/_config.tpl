{{/* The configuration that the sidecar gets: the values' `config` with what the chart knows better. */}}
{{- define "atlas-sidecar.config" -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
{{- $host := ternary "[::]" "0.0.0.0" (eq $values.bindAddress "::") -}}
{{- $listen := list "unix:/run/atlas/router.sock" -}}
{{- if $values.loopbackPort -}}
{{- $listen = append $listen (printf "127.0.0.1:%d" (int $values.loopbackPort)) -}}
{{- end -}}
{{- $own := dict "listen" $listen "health_listen" (printf "%s:%d" $host (int $values.healthPort)) -}}
{{- if $values.metricsPort -}}
{{- $_ := set $own "metrics_listen" (printf "%s:%d" $host (int $values.metricsPort)) -}}
{{- end -}}
{{- $budget := dict "spend_log" "/var/lib/atlas/spend" -}}
{{- with $values.budgetService -}}
{{- if .address -}}
{{- $_ := set $budget "service" .address -}}
{{- if .token -}}{{- $_ := set $budget "token_file" "/etc/atlas/secrets/budget/token" -}}{{- end -}}
{{- if .tls -}}
{{- $tls := dict -}}
{{- if .ca -}}{{- $_ := set $tls "ca_file" "/etc/atlas/secrets/budget/ca.crt" -}}{{- end -}}
{{- if .certificate -}}
{{- $_ := set $tls "cert_file" "/etc/atlas/secrets/budget/tls.crt" -}}
{{- $_ := set $tls "key_file" "/etc/atlas/secrets/budget/tls.key" -}}
{{- end -}}
{{- $_ := set $budget "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $own "budget" $budget -}}
{{- $providers := dict -}}
{{- range $provider, $from := $values.keys -}}
{{- $_ := set $providers $provider (dict "api_key_file" (printf "/etc/atlas/secrets/keys/%s" $provider)) -}}
{{- end -}}
{{- if $providers -}}{{- $_ := set $own "providers" $providers -}}{{- end -}}
{{- mergeOverwrite (deepCopy ($values.config | default dict)) $own | toYaml -}}
{{- end -}}

{{/*
Annotations for the pod's template: they change with the settings that a running sidecar does not take over, so that
`helm upgrade` replaces pods for these and for nothing else.
*/}}
{{- define "atlas-sidecar.annotations" -}}
{{- $config := include "atlas-sidecar.config" . | fromYaml -}}
{{- $bound := pick $config "listen" "health_listen" "metrics_listen" "limits" "budget" "telemetry" -}}
{{- $_ := set $bound "probe_interval_s" (get ($config.health | default dict) "probe_interval_s") -}}
checksum/atlas-sidecar: {{ $bound | toJson | sha256sum | trunc 16 | quote }}
{{- end -}}

{{- define "atlas-sidecar.configMapName" -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
{{- $values.configMap | default (printf "%s-atlas-sidecar" (.Release.Name | trunc 49 | trimSuffix "-")) -}}
{{- end -}}

{{- define "atlas-sidecar.labels" -}}
app.kubernetes.io/name: atlas-sidecar
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ include "atlas-sidecar.appVersion" . | quote }}
app.kubernetes.io/component: sidecar
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The objects beside the pod: the ConfigMap, and the PodMonitor when it is on. */}}
{{- define "atlas-sidecar.manifests" -}}
{{- include "atlas-sidecar.validate" . -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
{{- if not $values.configMap }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "atlas-sidecar.configMapName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "atlas-sidecar.labels" . | nindent 4 }}
data:
  atlas.yaml: |
    {{- include "atlas-sidecar.config" . | nindent 4 }}
{{- end }}
{{- if $values.podMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "atlas-sidecar.configMapName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "atlas-sidecar.labels" . | nindent 4 }}
    {{- with $values.podMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- $values.podMonitor.selector | default (dict "app.kubernetes.io/instance" .Release.Name) | toYaml | nindent 6 }}
  podMetricsEndpoints:
    - port: atlas-metrics
      interval: {{ $values.podMonitor.interval }}
{{- end }}
{{- end -}}

{{/* Refuses what contradicts itself, in words that say what to write instead. */}}
{{- define "atlas-sidecar.validate" -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
{{- $config := $values.config | default dict -}}
{{- if not $values.image -}}
{{- fail "atlas-sidecar: its values are missing; name the dependency `atlas-sidecar` in Chart.yaml, without an alias, and run `helm dependency update`" -}}
{{- end -}}
{{- range $key, $instead := dict "listen" "loopbackPort" "health_listen" "healthPort" "metrics_listen" "metricsPort" "insecure" "loopbackPort" "tls" "loopbackPort" -}}
{{- if hasKey $config $key -}}
{{- fail (printf "atlas-sidecar: config.%s is the chart's own; set `%s` instead" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $key, $instead := dict "spend_log" "spendLogSize" "service" "budgetService.address" "token_file" "budgetService.token" "tls" "budgetService.tls" -}}
{{- if hasKey ($config.budget | default dict) $key -}}
{{- fail (printf "atlas-sidecar: config.budget.%s is the chart's own; set `%s` instead" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- if and (not $values.simulate) (not $values.keys) (not $config.providers) (not $values.configMap) -}}
{{- fail "atlas-sidecar: no provider. Give `keys`, such as {anthropic: {secret: llm-keys, key: anthropic}}, or `config.providers` for servers that need no key, or `simulate: true` to try it without any" -}}
{{- end -}}
{{- if and $values.configMap $config -}}
{{- fail "atlas-sidecar: `configMap` and `config` both say what the configuration is; keep one of them" -}}
{{- end -}}
{{- with $values.budgetService -}}
{{- if not .address -}}
{{- if or .token .ca .certificate -}}
{{- fail "atlas-sidecar: budgetService.token, .ca or .certificate without budgetService.address; set the address, such as atlas-budget.atlas:50061" -}}
{{- end -}}
{{- else if and (not .tls) (or .ca .certificate) -}}
{{- fail "atlas-sidecar: budgetService.ca or .certificate with budgetService.tls: false; set tls: true, or remove them" -}}
{{- end -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $name := list "loopbackPort" "healthPort" "metricsPort" -}}
{{- $port := get $values $name | int -}}
{{- if and $port (hasKey $ports (toString $port)) -}}
{{- fail (printf "atlas-sidecar: %s and %s are both %d; give each a port of its own" (get $ports (toString $port)) $name $port) -}}
{{- end -}}
{{- $_ := set $ports (toString $port) $name -}}
{{- end -}}
{{- range $provider, $from := $values.keys -}}
{{- $entry := get ($config.providers | default dict) $provider | default dict -}}
{{- if or $entry.api_key $entry.api_key_env $entry.api_key_file -}}
{{- fail (printf "atlas-sidecar: provider %s has a key in `keys` and another one in `config.providers`; keep the one in `keys`" $provider) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* For the parent's NOTES.txt. */}}
{{- define "atlas-sidecar.notes" -}}
{{- $values := include "atlas-sidecar.values" . | fromYaml -}}
ATLAS sidecar {{ include "atlas-sidecar.appVersion" . }} runs in each pod, at unix:/run/atlas/router.sock
{{- if $values.loopbackPort }} and 127.0.0.1:{{ $values.loopbackPort }}{{ end }}.
{{- if $values.simulate }}
It SIMULATES every provider: no key is used and nothing is paid. For real answers set `keys` and `simulate: false`.
{{- end }}
{{- end -}}
