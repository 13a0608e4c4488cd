package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

const namespace = "default"

// template is the name of the ResourceClaimTemplate of all pods.
const template = "eni"

// pods creates pods that claim one ENI each, and sees when they are bound.
type pods struct {
	objects client.WithWatch

	mu      sync.Mutex
	created map[string]time.Time
	took    map[string]time.Duration // until they were bound
}

// followPods watches the pods of the namespace until ctx ends.
func followPods(ctx context.Context, objects client.WithWatch) (*pods, error) {
	p := &pods{objects: objects, created: map[string]time.Time{}, took: map[string]time.Duration{}}
	claim := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: template}}
	claim.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{
		Name: "eni", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: driver.Name, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
	}}
	if err := objects.Create(ctx, claim); err != nil {
		return nil, err
	}
	watch, err := objects.Watch(ctx, &corev1.PodList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	go func() {
		for event := range watch.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				p.bound(pod.Name)
			}
		}
	}()
	return p, nil
}

func (p *pods) bound(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began, ours := p.created[name]; ours && p.took[name] == 0 {
		p.took[name] = time.Since(began)
	}
}

// create creates n pods, one each interval.
func (p *pods) create(ctx context.Context, prefix string, n int, interval time.Duration) (names []string, err error) {
	for i := range n {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", prefix, i+1)}}
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "eni", ResourceClaimTemplateName: new(template)}}
		pod.Spec.Containers = []corev1.Container{{
			Name: "main", Image: "example.com/appliance", Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "eni"}}},
		}}
		p.mu.Lock()
		p.created[pod.Name] = time.Now()
		p.mu.Unlock()
		if err := p.objects.Create(ctx, pod); err != nil {
			return nil, err
		}
		names = append(names, pod.Name)
		time.Sleep(interval)
	}
	return names, nil
}

// times are how long the pods took, once all are bound.
func (p *pods) times(names []string) (times []time.Duration, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if took := p.took[name]; took > 0 {
			times = append(times, took)
		}
	}
	return times, len(times) == len(names)
}

// delete deletes pods as a kubelet does once their containers have ended.
func (p *pods) delete(ctx context.Context, names []string) error {
	for _, name := range names {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := p.objects.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
			return err
		}
	}
	return nil
}
