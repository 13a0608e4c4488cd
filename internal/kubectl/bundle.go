package kubectl

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

const aboutBundle = `What support needs to know about aws-multi-eni in this cluster, collected by kubectl eni bundle.

Secrets are left out: values of variables and annotations whose names sound secret, AWS keys,
tokens, passwords in URLs and private keys are replaced by REDACTED. User data of instances,
Secrets and ConfigMaps are never read. Look through the files before you share them.
`

func bundleFlags(flags *pflag.FlagSet) func(context.Context, *access, []string, IO) (int, error) {
	file := flags.StringP("file", "f", "", "file to write (default eni-bundle-TIME.tar.gz)")
	agents := flags.Int("agents", 20, "maximum number of agents whose logs, metrics, and doctor's output to collect; those on nodes that are not Ready come first")
	timeout := flags.Duration("timeout", 5*time.Minute, "how long the command may take; index.txt lists what it could not read in that time")
	return func(ctx context.Context, a *access, _ []string, io IO) (int, error) {
		c, err := a.connect()
		if err != nil {
			return exitUnreadable, err
		}
		now := time.Now()
		if *file == "" {
			*file = "eni-bundle-" + now.UTC().Format("20060102-150405") + ".tar.gz"
		}
		f, err := os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // logs may say more than their readers expect
		if err != nil {
			return exitUnreadable, err // before minutes of reading
		}
		defer f.Close()
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		b := &bundle{client: c, at: now, name: strings.TrimSuffix(filepath.Base(*file), ".tar.gz"), progress: io.Err}
		data, err := b.collect(ctx, *agents)
		if err == nil {
			_, err = f.Write(data)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			_ = os.Remove(*file)
			return exitUnreadable, err
		}
		fmt.Fprintf(io.Out, "%s: %d files, %d KB; %d items could not be read (see index.txt)\n", *file, len(b.contents), (len(data)+1023)/1024, len(b.missing))
		return exitReady, nil
	}
}

// bundle is a bundle that is being collected. All that goes into it goes through add.
type bundle struct {
	*client
	at       time.Time
	name     string // of the directory in it
	progress io.Writer
	tar      *tar.Writer
	contents []string
	missing  []string
}

// collect returns the file's content. What cannot be read is listed in it.
func (b *bundle) collect(ctx context.Context, agents int) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	b.tar = tar.NewWriter(zip)
	r, err := b.read(ctx)
	if err != nil {
		b.miss("NodeENIs", err)
	}
	for resource, why := range r.snapshot.Unread {
		b.miss(string(resource), errors.New(why))
	}
	b.server(ctx)
	b.explanations(&r.snapshot)
	b.objects(ctx, r.snapshot.Namespace)
	b.workloads(ctx, r, agents)
	if err := errors.Join(b.index(), b.tar.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (b *bundle) miss(what string, err error) {
	b.missing = append(b.missing, v1alpha1.Printable(redactText(what+": "+err.Error())))
}

// add adds a file, without secrets.
func (b *bundle) add(name, about string, content []byte) {
	content = []byte(redactText(string(content)))
	header := &tar.Header{Name: b.name + "/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: b.at}
	err := b.tar.WriteHeader(header)
	if err == nil {
		_, err = b.tar.Write(content)
	}
	if err != nil {
		b.miss(name, err)
		return
	}
	b.contents = append(b.contents, fmt.Sprintf("%-60s %s", name, about))
}

func (b *bundle) index() error {
	text := aboutBundle + "\nmade at " + b.at.UTC().Format(time.RFC3339) + " by kubectl eni " + Version + "\n\nContents:\n\n" + strings.Join(b.contents, "\n") + "\n"
	text += "\nCould not be read:\n\n" + strings.Join(b.missing, "\n") + "\n"
	missed := len(b.missing)
	if b.add("index.txt", "this list", []byte(text)); len(b.missing) > missed {
		return errors.New(b.missing[missed])
	}
	return nil
}

// server adds what the API server says of itself, and the versions of the kinds.
func (b *bundle) server(ctx context.Context) {
	if data, err := b.raw(ctx, "/version", nil); err != nil {
		b.miss("version of the API server", err)
	} else {
		b.add("version.txt", "version of the API server and of this plugin", fmt.Appendf(nil, "kubectl eni %s\n%s\n", Version, data))
	}
	for _, kind := range []string{"nodeenis", "nodeenistates"} {
		b.object(ctx, "objects/crd-"+kind+".yaml", "the CRD as it is installed", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+kind+".networking.k8s.aws", nil, nil)
	}
}

// explanations add what status and why print.
func (b *bundle) explanations(s *diagnose.Snapshot) {
	if len(s.Absent) > 0 {
		b.miss("NodeENIs", errors.New("the CRDs are not installed"))
		return
	}
	fleet, err := diagnose.StatusOf(s, diagnose.Filter{})
	if err != nil {
		b.miss("status", err)
		return
	}
	var text bytes.Buffer
	diagnose.Printer{Out: &text}.Fleet(fleet, true)
	b.add("status.txt", "kubectl eni status -o wide", text.Bytes())
	for i := range s.NodeENIs {
		name := s.NodeENIs[i].Name
		text.Reset()
		if e, err := diagnose.Explain(s, "nodeeni/"+name); err == nil && !e.IsReady() {
			diagnose.Printer{Out: &text}.Explanation(e)
			b.add("why/"+name+".txt", "kubectl eni why nodeeni/"+name, text.Bytes())
		}
	}
}

// objects adds the objects that decide what agents and coordinators do.
func (b *bundle) objects(ctx context.Context, namespace string) {
	home := "/namespaces/" + namespace
	b.object(ctx, "objects/nodeenis.yaml", "NodeENIs", nodeENIsPath, nil, nil)
	b.object(ctx, "objects/nodeenistates.yaml", "the agents' reports", statesPath, nil, nil)
	b.object(ctx, "objects/nodes.yaml", "Nodes without annotations and images", nodesPath, nil, trimNode)
	b.object(ctx, "objects/events-cluster.yaml", "Events about Nodes and NodeENIs", "/api/v1/namespaces/default/events", nil, nil)
	b.object(ctx, "objects/events.yaml", "Events in "+namespace, "/api/v1"+home+"/events", nil, nil)
	b.object(ctx, "objects/daemonsets.yaml", "DaemonSets in "+namespace, "/apis/apps/v1"+home+"/daemonsets", ours, nil)
	b.object(ctx, "objects/deployments.yaml", "Deployments in "+namespace, "/apis/apps/v1"+home+"/deployments", ours, nil)
	b.object(ctx, "objects/pods.yaml", "pods of agents and coordinators", "/api/v1"+home+"/pods", ours, nil)
	b.object(ctx, "objects/lease.yaml", "the Lease of the coordinators", "/apis/coordination.k8s.io/v1"+home+"/leases/"+diagnose.LeaseName, nil, nil)
	policies := parameters{"labelSelector": diagnose.NameLabel + "=" + diagnose.NameValue}
	b.object(ctx, "objects/policies.yaml", "admission policies", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", policies, nil)
	b.object(ctx, "objects/policybindings.yaml", "their bindings", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", policies, nil)
	b.object(ctx, "objects/resourceslices.yaml", "ResourceSlices of the agents", resourcePath+"/resourceslices", slicesOfAgents, nil)
	b.object(ctx, "objects/resourceclaims.yaml", "ResourceClaims", resourcePath+"/resourceclaims", nil, nil)
	b.object(ctx, "objects/deviceclasses.yaml", "DeviceClasses", resourcePath+"/deviceclasses", nil, nil)
	b.object(ctx, "objects/nads.yaml", "NetworkAttachmentDefinitions", "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions", nil, nil)
}

// trimNode leaves of a Node what concerns ENIs.
func trimNode(node map[string]any) {
	if metadata, ok := node["metadata"].(map[string]any); ok {
		delete(metadata, "annotations")
	}
	if status, ok := node["status"].(map[string]any); ok {
		for _, field := range []string{"images", "volumesInUse", "volumesAttached", "config"} {
			delete(status, field)
		}
	}
}

// object adds an object, or all pages of a list.
func (b *bundle) object(ctx context.Context, name, about, path string, p parameters, trim func(map[string]any)) {
	items, _, err := list[map[string]any](ctx, b.client, path, p)
	if err == nil && items == nil { // no list, or an empty one
		var data []byte
		var one map[string]any
		if data, err = b.raw(ctx, path, p); err == nil {
			err = json.Unmarshal(data, &one)
		}
		items = []map[string]any{one}
	}
	if apierrors.IsNotFound(err) {
		err = errors.New("it does not exist, or its kind is not installed")
	}
	if err != nil {
		b.miss(name+" ("+about+")", err)
		return
	}
	var text bytes.Buffer
	for _, item := range items {
		if trim != nil {
			trim(item)
		}
		data, err := yaml.Marshal(redactObject(item))
		if err != nil {
			b.miss(name, err)
			return
		}
		text.WriteString("---\n")
		text.Write(data)
	}
	b.add(name, about, text.Bytes())
}
