package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

// logParameters bound the log of a container.
var logParameters = parameters{"tailLines": "5000", "limitBytes": "5242880", "timestamps": "true"}

// workloads adds logs, metrics and doctors: of all coordinators, and of so many agents.
func (b *bundle) workloads(ctx context.Context, r *reading, agents int) {
	if r.snapshot.Unread[diagnose.Pods] != "" {
		return // index.txt has it
	}
	chosen, all := agentsOf(&r.snapshot, agents)
	if len(chosen) < all {
		b.miss("agents", fmt.Errorf("the bundle has the logs, metrics, and doctor's output of only %[2]d of %[1]d agents; to collect more, use --agents", all, len(chosen)))
	}
	pods := slices.Clone(chosen)
	for i := range r.snapshot.Pods {
		if p := &r.snapshot.Pods[i]; p.Labels[diagnose.ComponentLabel] == diagnose.CoordinatorComponent {
			pods = append(pods, p)
		}
	}
	for _, pod := range pods {
		fmt.Fprintf(b.progress, "reading pod %s\n", pod.Name)
		b.logs(ctx, pod)
		b.metrics(ctx, pod)
	}
	for _, pod := range chosen {
		b.doctor(ctx, pod)
	}
}

// agentsOf are at most so many agents, those on nodes that are not ready first, and the
// number of all.
func agentsOf(s *diagnose.Snapshot, most int) (chosen []*corev1.Pod, all int) {
	var troubled []string
	if fleet, err := diagnose.StatusOf(s, diagnose.Filter{}); err == nil {
		troubled = fleet.NotReadyNodes()
	}
	rank := func(pod *corev1.Pod) int {
		if i := slices.Index(troubled, pod.Spec.NodeName); i >= 0 {
			return i
		}
		return len(troubled)
	}
	for i := range s.Pods {
		if s.Pods[i].Labels[diagnose.ComponentLabel] == diagnose.AgentComponent {
			chosen = append(chosen, &s.Pods[i])
		}
	}
	all = len(chosen)
	slices.SortStableFunc(chosen, func(a, b *corev1.Pod) int { return rank(a) - rank(b) })
	return chosen[:min(all, max(0, most))], all
}

func podPath(pod *corev1.Pod) string {
	return fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", url.PathEscape(pod.Namespace), url.PathEscape(pod.Name))
}

// logs adds the logs of all containers, and of those that ran before them.
func (b *bundle) logs(ctx context.Context, pod *corev1.Pod) {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		p := parameters{"container": s.Name}
		for name, value := range logParameters {
			p[name] = value
		}
		name := fmt.Sprintf("logs/%s-%s", pod.Name, s.Name)
		b.log(ctx, pod, name+".log", p)
		if s.RestartCount > 0 {
			p["previous"] = "true"
			b.log(ctx, pod, name+".previous.log", p)
		}
	}
}

func (b *bundle) log(ctx context.Context, pod *corev1.Pod, name string, p parameters) {
	data, err := b.raw(ctx, podPath(pod)+"/log", p)
	if err != nil {
		b.miss(name, err)
		return
	}
	b.add(name, "log of "+pod.Name+" on "+pod.Spec.NodeName, data)
}

// metrics adds what a pod shows to Prometheus, through the API server.
func (b *bundle) metrics(ctx context.Context, pod *corev1.Pod) {
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name != "http" && port.Name != "http-dra" {
				continue
			}
			name := "metrics/" + pod.Name + strings.TrimPrefix(port.Name, "http") + ".txt"
			data, err := b.raw(ctx, fmt.Sprintf("%s:%d/proxy/metrics", podPath(pod), port.ContainerPort), nil)
			if err != nil {
				b.miss(name, err)
				return
			}
			b.add(name, "metrics of "+pod.Name, data)
		}
	}
}

// doctor adds what the doctor says on a node.
func (b *bundle) doctor(ctx context.Context, pod *corev1.Pod) {
	name := "doctor/" + pod.Spec.NodeName + ".txt"
	var out, errs bytes.Buffer
	code, err := b.exec(ctx, pod, doctorCommand(pod, nil), &out, &errs)
	if err != nil {
		b.miss(name, err)
		return
	}
	fmt.Fprintf(&out, "\n%s\nexit code %d\n", strings.TrimSpace(errs.String()), code)
	b.add(name, "kubectl eni doctor "+pod.Spec.NodeName, out.Bytes())
}
