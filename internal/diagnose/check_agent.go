package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// checkNode says whether the Node itself works: without its kubelet, nothing of what runs
// there is known.
func checkNode(p *pair) []Step {
	if p.node == nil {
		return nil
	}
	for _, c := range p.node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return []Step{bad("node", "NodeNotReady", "repair the node, or replace it: kubectl describe node "+p.nodeName,
				"the Node has not been Ready for %s (%s)", strings.TrimSuffix(p.ago(c.LastTransitionTime.Time), " ago"), cmp.Or(c.Message, c.Reason)).since(c.LastTransitionTime.Time)}
		}
	}
	return nil
}

// checkAgent says whether an agent runs on the node.
func checkAgent(p *pair) []Step {
	switch {
	case p.Unread[Pods] != "":
		return p.checkWithoutPods()
	case p.agent != nil:
		return []Step{p.checkPod()}
	case p.Unread[DaemonSets] != "":
		return []Step{p.noAgent("the node has no agent pod", "find out why: kubectl -n "+p.Namespace+" describe daemonset eni-agent")}
	case p.daemonSet == nil && p.state != nil:
		return []Step{unknown("agent", "the cluster has no DaemonSet of agents; the report comes from an agent that runs outside of a pod")}
	case p.daemonSet == nil:
		return []Step{p.noAgent("the cluster has no DaemonSet of agents", install)}
	}
	return []Step{p.whyNoPod(p.daemonSet)}
}

// checkWithoutPods says what the DaemonSet alone shows.
func (p *pair) checkWithoutPods() []Step {
	if p.daemonSet != nil && p.node != nil {
		if text, next := keptOff(p.daemonSet, p.node); text != "" {
			return []Step{p.noAgent(text, next)}
		}
	}
	text := "cannot tell whether an agent runs on the node: " + p.Unread[Pods]
	if p.daemonSet != nil {
		text += fmt.Sprintf("; %d of %d agents are ready", p.daemonSet.Status.NumberReady, p.daemonSet.Status.DesiredNumberScheduled)
	}
	return []Step{unknown("agent", "%s", text)}
}

func (p *pair) noAgent(text, next string) Step {
	step := bad("agent", "AgentNotRunning", next, "%s", text)
	if p.state != nil {
		step.Text += "; ENIs and links stay as the last agent configured them"
	}
	switch { // It is not known when the agent ended: at the earliest after its last report.
	case p.state != nil:
		step.Since = p.written()
	case p.node != nil:
		step.Since = p.node.CreationTimestamp.Time
	}
	return step
}

// whyNoPod says what keeps the DaemonSet's pod off the node.
func (p *pair) whyNoPod(ds *appsv1.DaemonSet) Step {
	if p.node != nil {
		if text, next := keptOff(ds, p.node); text != "" {
			return p.noAgent(text, next)
		}
	}
	return p.noAgent(fmt.Sprintf("the DaemonSet %s/%s has no pod on the node (%d of %d are ready)", ds.Namespace, ds.Name, ds.Status.NumberReady, ds.Status.DesiredNumberScheduled),
		fmt.Sprintf("find out why: kubectl -n %s describe daemonset %s", ds.Namespace, ds.Name))
}

// keptOff says why the DaemonSet places no pod on the node, and what to do about it; "" if
// nothing keeps it off.
func keptOff(ds *appsv1.DaemonSet, node *corev1.Node) (text, next string) {
	spec := ds.Spec.Template.Spec
	name := fmt.Sprintf("the DaemonSet %s/%s", ds.Namespace, ds.Name)
	if missing := missingLabels(spec.NodeSelector, node); len(missing) > 0 {
		return fmt.Sprintf("%s requires %s (nodeSelector): %s", name, selectorText(spec.NodeSelector), strings.Join(missing, "; ")),
			fmt.Sprintf("correct nodeSelector of the Helm chart, or label the node: kubectl label node %s %s", node.Name, labelArguments(spec.NodeSelector, node))
	}
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: spec}).Match(node); err == nil && !matches {
		return name + " does not run on this node because of its node affinity" + excludedBy(node),
			"use the NodeENI on nodes on which agents run; eniManager.affinity of the Helm chart decides that"
	}
	blocks := func(t *corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule && !strings.HasPrefix(t.Key, "node.kubernetes.io/")
	}
	if taint, found := schedulingcorev1.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, spec.Tolerations, blocks, false); found {
		return fmt.Sprintf("%s does not tolerate the node's taint %s", name, taint.ToString()),
			"add a toleration to tolerations of the Helm chart, or remove the taint"
	}
	return "", ""
}

// excludedBy names the kind of node that EKS manages alone.
func excludedBy(node *corev1.Node) string {
	if kind := node.Labels["eks.amazonaws.com/compute-type"]; kind != "" {
		return fmt.Sprintf(" (eks.amazonaws.com/compute-type=%s)", kind)
	}
	return ""
}

// checkPod judges the agent's pod.
func (p *pair) checkPod() Step {
	pod := p.agent
	logs := fmt.Sprintf("kubectl -n %s logs %s", pod.Namespace, pod.Name)
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if step, found := p.containerTrouble(s, logs); found {
			return step
		}
	}
	if pod.DeletionTimestamp != nil {
		return p.doubt("AgentTerminating", "wait until the DaemonSet has replaced it", pod.DeletionTimestamp.Time, "the pod %s is being deleted", pod.Name)
	}
	if pod.Spec.NodeName == "" {
		c := condition(pod, corev1.PodScheduled)
		return bad("agent", "AgentNotScheduled", fmt.Sprintf("kubectl -n %s describe pod %s", pod.Namespace, pod.Name), "the pod %s is not scheduled: %s", pod.Name, cmp.Or(c.Message, "the scheduler has not bound it yet")).since(pod.CreationTimestamp.Time)
	}
	if c := condition(pod, corev1.PodReady); c.Status != corev1.ConditionTrue {
		return p.doubt("AgentNotReady", "see its log: "+logs, cmp.Or(c.LastTransitionTime.Time, pod.CreationTimestamp.Time),
			"the pod %s runs but is not ready: %s", pod.Name, cmp.Or(c.Message, c.Reason, string(pod.Status.Phase)))
	}
	return ok("agent", "the pod %s runs%s", pod.Name, p.versions())
}

// doubt is a step that is the cause if no other one is.
func (p *pair) doubt(reason, next string, since time.Time, format string, args ...any) Step {
	step := unknown("agent", format, args...).since(since)
	step.Reason, step.Next, step.suspect = reason, next, true
	return step
}

// containerTrouble says what keeps a container from running.
func (p *pair) containerTrouble(s corev1.ContainerStatus, logs string) (Step, bool) {
	if s.Name != AgentContainer {
		logs += " -c " + s.Name
	}
	since := p.agent.CreationTimestamp.Time
	if last := s.LastTerminationState.Terminated; last != nil {
		since = last.FinishedAt.Time
	}
	switch w := s.State.Waiting; {
	case w == nil && s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
		return bad("agent", "Error", "see its log: "+logs, "container %s of pod %s ended with code %d", s.Name, p.agent.Name, s.State.Terminated.ExitCode).since(since), true
	case w == nil:
		return Step{}, false
	case strings.Contains(w.Reason, "Image"):
		return bad("agent", w.Reason, "correct the image, or let the node reach its registry", "pod %s cannot pull %s: %s", p.agent.Name, s.Image, cmp.Or(w.Message, w.Reason)).since(since), true
	case w.Reason == "CrashLoopBackOff":
		return bad("agent", w.Reason, "see why it ended: "+logs+" --previous", "container %s of pod %s has crashed %d times%s", s.Name, p.agent.Name, s.RestartCount, lastEnd(s)).since(since), true
	case w.Reason == "ContainerCreating", w.Reason == "PodInitializing":
		return p.doubt("AgentStarting", fmt.Sprintf("if this lasts: kubectl -n %s describe pod %s", p.agent.Namespace, p.agent.Name), since, "pod %s is starting (%s)", p.agent.Name, w.Reason), true
	default:
		return bad("agent", w.Reason, fmt.Sprintf("kubectl -n %s describe pod %s", p.agent.Namespace, p.agent.Name), "container %s of pod %s does not start: %s", s.Name, p.agent.Name, cmp.Or(w.Message, w.Reason)).since(since), true
	}
}

func lastEnd(s corev1.ContainerStatus) string {
	if last := s.LastTerminationState.Terminated; last != nil {
		return fmt.Sprintf(", last with %s (code %d)", cmp.Or(last.Reason, "Error"), last.ExitCode)
	}
	return ""
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// versions compares the agent's version with the coordinator's.
func (p *pair) versions() string {
	own := version(p.agent.Spec)
	coordinator := ""
	for i := range p.Deployments {
		coordinator = version(p.Deployments[i].Spec.Template.Spec)
	}
	switch {
	case own == "":
		return ""
	case coordinator == "" || coordinator == own:
		return " " + own
	}
	return fmt.Sprintf(" %s, and the coordinator is %s: finish the upgrade", own, coordinator)
}

// version is the tag of the first container's image.
func version(spec corev1.PodSpec) string {
	if len(spec.Containers) == 0 {
		return ""
	}
	image, _, _ := strings.Cut(spec.Containers[0].Image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[i+1:]
	}
	return ""
}

// checkCoordinator says whether a coordinator leads. ENIs come without one, so the chain
// goes on.
func checkCoordinator(p *pair) []Step {
	step := p.coordinator()
	if step.goesOn = true; step.Mark == Bad {
		step.Text += "; agents still create ENIs, but no ENI is deleted"
	}
	return []Step{step}
}

// leaseTolerance is how far the clock of this machine may be behind or ahead.
const leaseTolerance = 10 * time.Second

func (x *index) coordinator() Step {
	next := fmt.Sprintf("find out why no coordinator leads: kubectl -n %s get pods -l %s=%s", x.Namespace, ComponentLabel, CoordinatorComponent)
	if why := x.Unread[Leases]; why != "" {
		return unknown("coordinator", "cannot tell whether a coordinator leads: %s", why)
	}
	if x.Lease == nil {
		return bad("coordinator", "NoCoordinator", next, "the Lease %s/%s does not exist: no coordinator has led yet%s", x.Namespace, LeaseName, x.coordinatorTrouble())
	}
	spec := x.Lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil {
		return bad("coordinator", "NoCoordinator", next, "no coordinator holds the Lease %s/%s%s", x.Namespace, LeaseName, x.coordinatorTrouble())
	}
	lasts := leaseTolerance
	if spec.LeaseDurationSeconds != nil {
		lasts += time.Duration(*spec.LeaseDurationSeconds) * time.Second
	}
	if x.Time.Sub(spec.RenewTime.Time) > lasts {
		return bad("coordinator", "NoCoordinator", next, "no coordinator leads: the Lease %s/%s was last renewed %s%s", x.Namespace, LeaseName, x.ago(spec.RenewTime.Time), x.coordinatorTrouble()).since(spec.RenewTime.Time)
	}
	return ok("coordinator", "%s leads", *spec.HolderIdentity)
}

// coordinatorTrouble says what keeps the coordinators' pods from running.
func (x *index) coordinatorTrouble() string {
	if x.Unread[Pods] != "" {
		return ""
	}
	pods := 0
	for i := range x.Pods {
		if x.Pods[i].Labels[ComponentLabel] != CoordinatorComponent {
			continue
		}
		pods++
		for _, s := range x.Pods[i].Status.ContainerStatuses {
			if s.State.Waiting != nil {
				return fmt.Sprintf("; pod %s is in %s", x.Pods[i].Name, s.State.Waiting.Reason)
			}
		}
	}
	if pods == 0 {
		return "; no coordinator pod exists"
	}
	return ""
}

// lastWritten is when an object was last changed, by its managed fields.
func lastWritten(fields []metav1.ManagedFieldsEntry, created metav1.Time) time.Time {
	last := created.Time
	for _, f := range fields {
		if f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}
