package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// resourceSlices are the ResourceSlices of the node's pool. The kubelet deletes them when it
// starts, and others may edit them: they are watched, and then written again.
type resourceSlices struct {
	client   *kube.Client
	node     string
	informer cache.SharedIndexInformer // *kube.ResourceSlice, without their contents
	limiter  flowcontrol.RateLimiter
	changed  chan struct{} // of the Source

	mu        sync.Mutex // also held while slices are written: their events come after that
	published agent.Pool
	versions  map[string]string // by name, as last written
	inSync    bool              // what is published is what there is
	isLost    atomic.Bool       // it is not, because of others
}

func newResourceSlices(client *kube.Client, reach *kube.Reach, node string, changed chan struct{}) resourceSlices {
	lw := cache.NewFilteredListWatchFromClient(client.Resource, kube.ResourceSlices, metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.FieldSelector = ownSlices(node).String()
	})
	return resourceSlices{
		client: client, node: node, changed: changed, versions: map[string]string{},
		informer: slimInformer(reach.Of("the ResourceSlices", lw), &kube.ResourceSlice{}, withoutDevices),
		limiter:  flowcontrol.NewTokenBucketRateLimiter(claimWritesPerSecond, claimWritesAtOnce),
	}
}

func ownSlices(node string) fields.Selector {
	return fields.SelectorFromSet(fields.Set{"spec.nodeName": node, "spec.driver": driver.Name})
}

func withoutDevices(object any) (any, error) {
	if s, ok := object.(*kube.ResourceSlice); ok {
		s.Spec = kube.ResourceSliceSpec{}
	}
	return slimMeta(object)
}

func (s *resourceSlices) run(ctx context.Context) {
	shown := func(object any) { o := object.(*kube.ResourceSlice); s.shown(o.Name, o.ResourceVersion) }
	_, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: shown, UpdateFunc: func(_, o any) { shown(o) }, DeleteFunc: func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			s.shown(key, "")
		}
	}})
	if err != nil {
		panic(err) // a programming error: the informer has been stopped
	}
	go s.informer.RunWithContext(ctx)
}

// shown compares what the watch shows of a slice with what was written.
func (s *resourceSlices) shown(name, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions[name] != version {
		s.isLost.Store(s.inSync || s.isLost.Load())
		s.inSync = false
		signal(s.changed)
	}
}

// lost says whether others have changed what was published.
func (s *resourceSlices) lost() bool { return s.isLost.Load() }

// publish makes the slices of the pool those given, unless they are.
func (s *resourceSlices) publish(ctx context.Context, pool agent.Pool, node *kube.Node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inSync && equality.Semantic.DeepEqual(pool, s.published) {
		return nil
	}
	if node == nil {
		return errors.New("the Node does not exist yet, so it cannot own ResourceSlices")
	}
	if err := s.limiter.Wait(ctx); err != nil {
		return err
	}
	var now kube.ResourceSliceList
	err := s.client.Resource.Get().Resource(kube.ResourceSlices).Param("fieldSelector", ownSlices(s.node).String()).Do(ctx).Into(&now)
	if err != nil {
		return fmt.Errorf("list the ResourceSlices of this node: %w", err)
	}
	writes, strays := planSlices(*node, now.Items, withKept(pool, now.Items))
	s.inSync = false
	s.versions = map[string]string{}
	for _, slice := range now.Items {
		s.versions[slice.Name] = slice.ResourceVersion
	}
	for i := range strays {
		if err := s.delete(ctx, &strays[i]); err != nil {
			return err
		}
	}
	for i := range writes {
		if err := s.write(ctx, &writes[i]); err != nil {
			return err
		}
	}
	s.published, s.inSync = pool, true
	s.isLost.Store(false)
	return nil
}

func (s *resourceSlices) delete(ctx context.Context, slice *kube.ResourceSlice) error {
	delete(s.versions, slice.Name)
	err := s.client.Resource.Delete().Resource(kube.ResourceSlices).Name(slice.Name).
		Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &slice.UID}}).Do(ctx).Error()
	if err != nil && !kube.IsNotFound(err) {
		return fmt.Errorf("delete ResourceSlice %s: %w", slice.Name, err)
	}
	return nil
}

// errNotKept is what users of older clusters read, and those who have turned features off.
var errNotKept = errors.New("ENIs on demand need Kubernetes 1.36 or later, with the feature gates DRADeviceBindingConditions, DRADeviceTaints, and DRAPartitionableDevices: the API server does not keep all fields of a ResourceSlice; upgrade the cluster or enable the feature gates")

// write creates or updates a slice. A device that had lost its binding conditions would be
// given to pods at once: the API server shows beforehand what it keeps.
func (s *resourceSlices) write(ctx context.Context, slice *kube.ResourceSlice) error {
	dryRuns := []string{metav1.DryRunAll, ""}
	if slice.ResourceVersion != "" {
		dryRuns = []string{""} // what a slice has it keeps
	}
	for _, dryRun := range dryRuns {
		got, err := writeSlice(ctx, s.client, slice, dryRun)
		switch {
		case dryRun != "":
		case errors.Is(err, errNotKept):
			err = errors.Join(err, s.delete(ctx, &got))
		case err == nil:
			s.versions[slice.Name] = got.ResourceVersion
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSlice creates or updates a slice, or tries to. It returns errNotKept if the API
// server drops fields.
func writeSlice(ctx context.Context, client *kube.Client, slice *kube.ResourceSlice, dryRun string) (got kube.ResourceSlice, err error) {
	request := client.Resource.Post()
	if slice.ResourceVersion != "" {
		request = client.Resource.Put().Name(slice.Name)
	}
	if dryRun != "" {
		request = request.Param("dryRun", dryRun)
	}
	if err := request.Resource(kube.ResourceSlices).Body(slice).Do(ctx).Into(&got); err != nil {
		return got, fmt.Errorf("write ResourceSlice %s: %w", slice.Name, err)
	}
	if !equality.Semantic.DeepEqual(withTimes(slice.Spec, got.Spec), got.Spec) {
		return got, errNotKept
	}
	return got, nil
}

// withKept are the slices of the pool, and those of the devices that it keeps, with their
// counters.
func withKept(pool agent.Pool, now []kube.ResourceSlice) []kube.ResourceSliceSpec {
	specs := slices.Clone(pool.Slices)
	var kept []kube.ResourceSliceSpec
	var counters []kube.CounterSet
	for _, slice := range now {
		counters = append(counters, slice.Spec.SharedCounters...)
		spec := slice.Spec
		spec.Devices = slices.DeleteFunc(slices.Clone(spec.Devices), func(d kube.Device) bool {
			nodeENI := d.Attributes["nodeENI"].String
			return nodeENI == nil || !slices.Contains(pool.Keep, *nodeENI)
		})
		if len(spec.Devices) > 0 {
			kept = append(kept, spec)
		}
	}
	if len(kept) == 0 {
		return specs
	}
	if len(specs) == 0 {
		specs = append(specs, kube.ResourceSliceSpec{})
	}
	has := func(set kube.CounterSet) bool {
		return slices.ContainsFunc(specs[0].SharedCounters, func(other kube.CounterSet) bool { return other.Name == set.Name })
	}
	specs[0].SharedCounters = append(slices.Clone(specs[0].SharedCounters), slices.DeleteFunc(counters, has)...)
	return append(specs, kept...)
}

// planSlices are the slices to write and those to delete, so that the pool has the wanted
// ones. A pool whose slices have several generations is incomplete, and no device of it is
// allocated. So they keep their generation while one write is enough, as those of
// Kubernetes' own helper do.
func planSlices(node kube.Node, now []kube.ResourceSlice, specs []kube.ResourceSliceSpec) (writes, strays []kube.ResourceSlice) {
	byName := map[string]kube.ResourceSlice{}
	var generation int64
	for _, slice := range now {
		byName[slice.Name] = slice
		generation = max(generation, slice.Spec.Pool.Generation)
	}
	wanted := wantedSlices(node, byName, specs, generation)
	created := false
	for _, slice := range wanted {
		old, exists := byName[slice.Name]
		created = created || !exists
		if !equality.Semantic.DeepEqual(old.Spec, slice.Spec) || !equality.Semantic.DeepEqual(old.OwnerReferences, slice.OwnerReferences) {
			writes = append(writes, slice)
		}
		delete(byName, slice.Name)
	}
	if created || len(writes) > 1 {
		for i := range wanted {
			wanted[i].Spec.Pool.Generation = generation + 1
		}
		writes = wanted
	}
	for _, slice := range now {
		if _, stray := byName[slice.Name]; stray {
			strays = append(strays, slice)
		}
	}
	return writes, strays
}

// wantedSlices are the slices as they should be, those that exist with their metadata.
func wantedSlices(node kube.Node, byName map[string]kube.ResourceSlice, specs []kube.ResourceSliceSpec, generation int64) (wanted []kube.ResourceSlice) {
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: new(true)}
	for i, spec := range specs {
		slice := byName[sliceName(node.Name, i)]
		old := slice.Spec
		slice.TypeMeta = metav1.TypeMeta{APIVersion: kube.ResourceGroupVersion.String(), Kind: "ResourceSlice"}
		slice.Name, slice.OwnerReferences = sliceName(node.Name, i), []metav1.OwnerReference{owner}
		slice.Spec = withTimes(spec, old)
		slice.Spec.Driver, slice.Spec.NodeName = driver.Name, node.Name
		slice.Spec.Pool = kube.ResourcePool{Name: node.Name, Generation: generation, ResourceSliceCount: int64(len(specs))}
		wanted = append(wanted, slice)
	}
	return wanted
}

// sliceName is the name of a slice of a node. No other node's slices can have it: the
// admission policy lets each agent use only the names of its own node.
func sliceName(node string, i int) string { return fmt.Sprintf("%s-eni-%d", node, i) }

// withTimes is the spec with the times of taints as the API server has set them.
func withTimes(spec, from kube.ResourceSliceSpec) kube.ResourceSliceSpec {
	spec = *spec.DeepCopy()
	for d := range spec.Devices {
		device := &spec.Devices[d]
		i := slices.IndexFunc(from.Devices, func(f kube.Device) bool { return f.Name == device.Name })
		if i < 0 {
			continue
		}
		for t := range device.Taints {
			taint := &device.Taints[t]
			if j := slices.IndexFunc(from.Devices[i].Taints, func(f kube.DeviceTaint) bool {
				return f.Key == taint.Key && f.Value == taint.Value && f.Effect == taint.Effect
			}); j >= 0 {
				taint.TimeAdded = from.Devices[i].Taints[j].TimeAdded
			}
		}
	}
	return spec
}
