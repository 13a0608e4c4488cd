package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Forecast is what an agent would have to do on a node, for those who want to
// know beforehand.
type Forecast struct {
	ENIs []ForecastENI
	// Places are the ENIs on demand that pods can claim.
	Places   []ForecastPlaces
	Problems []ForecastProblem
	// Attached are all ENIs of the instance, whoever made them.
	Attached []eni.ENI
	// Own are the ENIs that were made for this instance, attached or not.
	Own []eni.ENI
	// Subnets are those that NodeENIs list, in every zone, by id.
	Subnets map[string]eni.Subnet
}

// ForecastENI is an ENI that is wanted.
type ForecastENI struct {
	NodeENI string
	// ID is "" while it does not exist.
	ID          string
	Attached    bool // to this instance
	NetworkCard int32
	ENAQueues   int32
	// DeviceIndex is the one it has or would get there, instead of Wanted.
	DeviceIndex, Wanted int32
	// Holder says what has the wanted device index, when something has.
	Holder string
	Create eni.CreateParams
}

// ForecastPlaces says how many ENIs on demand a NodeENI can have in a subnet, if pods claim
// none of other NodeENIs on the same network card.
type ForecastPlaces struct {
	NodeENI, SubnetID   string
	NetworkCard, Number int32
}

// ForecastProblem is a NodeENI that cannot be carried out.
type ForecastProblem struct {
	NodeENI, Reason, Message string
}

// NewForecast looks up what the NodeENIs name and what the instance has, with up
// to six describes, and plans.
func NewForecast(ctx context.Context, ec2 *eni.Client, cluster, node string, who imds.Identity, nodeENIs []v1alpha1.NodeENI, labels map[string]string) (Forecast, error) {
	known, err := lookUpAll(ctx, ec2, who, desire(nodeENIs, labels, who.Zone, catalog{}, nil).named)
	if err != nil {
		return Forecast{}, err
	}
	own, err := ec2.OfInstance(ctx, cluster, who.InstanceARN())
	if err != nil {
		return Forecast{}, fmt.Errorf("list the ENIs of this instance: %w", err)
	}
	attached, err := ec2.AttachedTo(ctx, who.InstanceID)
	if err != nil {
		return Forecast{}, fmt.Errorf("list the ENIs that are attached to this instance: %w", err)
	}
	v := view{
		cluster: cluster, node: node, instanceARN: who.InstanceARN(), instanceID: who.InstanceID,
		desired: desire(nodeENIs, labels, who.Zone, known, nil), synced: true,
		intents: map[inventory.Slot]intent{},
		indexes: inventory.Indexes{Holders: inventory.HoldersAmong(attached, func(e eni.ENI) bool {
			return slices.ContainsFunc(own, func(o eni.ENI) bool { return o.ID == e.ID })
		})},
	}
	if kind := known[ownInstanceType].kind; kind != nil {
		v.indexes.LearnLimits(*kind)
	}
	f := forecast(v, own)
	f.Attached = slices.DeleteFunc(attached, func(e eni.ENI) bool { return e.Attachment == nil })
	f.Subnets = known.subnets()
	return f, nil
}

// lookUpAll asks EC2 for all that is named.
func lookUpAll(ctx context.Context, ec2 *eni.Client, here imds.Identity, named []retry.Key) (catalog, error) {
	known := catalog{}
	for _, key := range lookUpKeys {
		refs := of(key, named)
		if len(refs) == 0 {
			continue
		}
		answer, err := lookUp(ctx, ec2, here, key, refs)
		if err != nil {
			return known, fmt.Errorf("%s by %s: %w", key.Action, key.Of, err)
		}
		maps.Copy(known, answer)
	}
	return known, nil
}

// subnets are all that are known, by id.
func (c catalog) subnets() map[string]eni.Subnet {
	all := map[string]eni.Subnet{}
	for _, found := range c {
		for _, s := range found.subnets {
			all[s.ID] = s
		}
	}
	return all
}

// forecast works out which ENI, and which device index, each want has or gets.
func forecast(v view, own []eni.ENI) Forecast {
	f := Forecast{Own: own}
	exists := map[string]inventory.ENI{}
	for _, e := range own {
		exists[e.ID] = inventory.ENI{ENI: e, Evidence: inventory.Shown}
		v.enis = append(v.enis, exists[e.ID])
	}
	p := newPlan(v)
	p.assign(v)
	p.index(v)
	for _, w := range v.desired.wants {
		v.intents[w.Slot] = intent{createdAt: time.Now().UTC().Truncate(time.Second)}
		e := exists[p.assigned[w.Slot]]
		want := ForecastENI{
			NodeENI: w.nodeENI, ID: e.ID, Attached: e.AttachedTo(v.instanceID),
			NetworkCard: w.card, ENAQueues: w.enaQueues, DeviceIndex: p.places[w.Slot].DeviceIndex, Wanted: w.deviceIndex, Create: createCall(w, v).params,
		}
		if want.DeviceIndex != want.Wanted {
			want.Holder = v.holderIn(p, w)
		}
		f.ENIs = append(f.ENIs, want)
	}
	room := v.roomOnDemand(nil)
	for _, t := range v.desired.onDemand {
		if n, known := room[t.card]; known {
			f.Places = append(f.Places, ForecastPlaces{t.nodeENI, t.SubnetID, t.card, max(n, 0)})
		}
	}
	for _, problem := range v.desired.problems {
		f.Problems = append(f.Problems, ForecastProblem{problem.nodeENI, problem.reason, problem.message})
	}
	return f
}

// holderIn says what has, or gets by the plan, the device index that is wanted.
func (v view) holderIn(p plan, w want) string {
	planned := ""
	for _, other := range v.desired.wants {
		if other.Slot != w.Slot && p.places[other.Slot] == w.place() {
			planned = "NodeENI " + other.nodeENI
		}
	}
	return cmp.Or(v.holder(w.place()).ID, planned, "another ENI")
}
