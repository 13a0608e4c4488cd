# Nothing but Go, make and git is needed, and for images buildah or docker.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

controller_gen := go tool -modfile=hack/tools/controller-gen/go.mod controller-gen
licences       := go run -C hack/tools/licences .
golangci_lint  := go tool -modfile=hack/tools/golangci-lint/go.mod golangci-lint

# The Helm chart, and what it holds copies of: parts of manifests/, its own values.yaml,
# which templates cannot read, the alerts and the dashboard.
chart       := packaging/helm/aws-multi-eni
chart_files := crds policy rbac node-readiness on-demand pods
copy_chart_files = rm -rf $(1) && for part in $(chart_files); do mkdir -p $(1)/$$part && cp manifests/$$part/*.yaml $(1)/$$part/ || exit 1; done && rm $(1)/node-readiness/kustomization.yaml $(1)/on-demand/kustomization.yaml $(1)/on-demand/daemonset.yaml $(1)/pods/kustomization.yaml $(1)/pods/daemonset.yaml && \
	cp $(chart)/values.yaml packaging/prometheus/rules.yaml packaging/grafana/aws-multi-eni.json $(1)/

# Packages that are tested side by side. Many of them run an API server each
# (330 MB, two busy cores at its start), so the number of cores is no measure.
TEST_PARALLEL ?= 2
# Tests of one package that are run side by side; most of e2e waits most of the time.
TEST_SIDE_BY_SIDE ?= 2
TEST_TIMEOUT  ?= 30m
TEST_FLAGS    ?=
PACKAGES      ?= ./...

# What is released: for these architectures, as this version.
ARCH    ?= amd64 arm64
SYSTEMS ?= linux darwin
VERSION ?= $(shell hack/release/version.sh)
BIN     ?= bin

# The same commit and the same Go give the same bytes, wherever the tree is. Functions
# are not inlined (-l): the programs wait rather than compute, and without the copies
# a tenth of a binary's bytes is gone, which each node pulls and keeps in memory.
go_build = CGO_ENABLED=0 go build -trimpath -buildvcs=false -gcflags all=-l \
	-ldflags "-s -w -X github.com/aws-multi-eni/aws-multi-eni/internal/program.Version=$(VERSION) \
		-X github.com/aws-multi-eni/aws-multi-eni/internal/kubectl.Version=$(VERSION) \
		-X github.com/aws-multi-eni/aws-multi-eni/cni.Version=$(VERSION)"

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build static binaries into ./bin.
	@mkdir -p bin
	$(go_build) -o bin/ ./cmd/...

.PHONY: binaries
binaries: ## Build agent, coordinator, CNI plugin, DRA plugin and kubectl plugin, with the licenses of what they link, into bin/linux-ARCH for each ARCH.
	@for arch in $(ARCH); do \
		mkdir -p $(BIN)/linux-$$arch && \
		(set -x; GOOS=linux GOARCH=$$arch $(go_build) -o $(BIN)/linux-$$arch/ ./cmd/eni-agent ./cmd/eni-coordinator ./cmd/eni-cni ./cmd/eni-dra ./cmd/kubectl-eni) && \
		for program in eni-agent eni-coordinator eni-cni eni-dra kubectl-eni; do \
			$(licences) -texts $$program >$(BIN)/linux-$$arch/$$program.THIRD-PARTY-LICENSES || exit 1; \
		done || exit 1; \
	done

# What the kubectl plugin is built for.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: kubectl-plugin
kubectl-plugin: ## Build archives of the kubectl plugin for each of PLATFORMS, and the krew manifest, into bin/kubectl.
	@rm -rf $(BIN)/kubectl && mkdir -p $(BIN)/kubectl && $(licences) -texts kubectl-eni >$(BIN)/kubectl/THIRD-PARTY-LICENSES
	@for platform in $(PLATFORMS); do \
		dir=$(BIN)/kubectl/$$(echo $$platform | tr / -) && mkdir -p $$dir && \
		(set -x; GOOS=$${platform%/*} GOARCH=$${platform#*/} $(go_build) -o $$dir/ ./cmd/kubectl-eni) || exit 1; \
	done
	@VERSION="$(VERSION)" BIN="$(BIN)" PLATFORMS="$(PLATFORMS)" hack/release/kubectl.sh

.PHONY: image
image: binaries ## Build both images with buildah or docker (IMAGE_TOOL, ARCH). PUSH=1 pushes to IMAGE_REPOSITORY.
	@VERSION="$(VERSION)" ARCH="$(ARCH)" hack/release/image.sh

.PHONY: packages
packages: binaries ## Build deb and rpm packages of eni-agent with the CNI plugin into bin/packages for each ARCH.
	@VERSION="$(VERSION)" ARCH="$(ARCH)" BIN="$(BIN)" hack/release/packages.sh

.PHONY: sbom
sbom: binaries ## Write bills of materials of the programs (CycloneDX) into bin/sbom for each ARCH.
	@VERSION="$(VERSION)" ARCH="$(ARCH)" BIN="$(BIN)" hack/release/sbom.sh

.PHONY: chart
chart: ## Package the Helm chart into bin/chart. PUSH=1 pushes to IMAGE_REPOSITORY/charts.
	@VERSION="$(VERSION)" BIN="$(BIN)" hack/release/chart.sh

.PHONY: archives
archives: binaries ## Build archives of eni-coordinator for Linux and macOS, for administrators' own machines, into bin/archives.
	@for arch in $(ARCH); do for system in $(filter-out linux,$(SYSTEMS)); do \
		(set -x; GOOS=$$system GOARCH=$$arch $(go_build) -o $(BIN)/$$system-$$arch/ ./cmd/eni-coordinator) || exit 1; \
	done; done
	@VERSION="$(VERSION)" ARCH="$(ARCH)" SYSTEMS="$(SYSTEMS)" BIN="$(BIN)" hack/release/archives.sh

.PHONY: release-files
release-files: packages sbom chart archives kubectl-plugin ## Collect packages, bills of materials, chart, archives, and kubectl plugin in bin/release, with checksums.
	@rm -rf $(BIN)/release && mkdir -p $(BIN)/release && \
	cp $(BIN)/packages/* $(BIN)/sbom/* $(BIN)/chart/* $(BIN)/archives/* $(BIN)/kubectl/*.tar.gz $(BIN)/kubectl/krew-eni.yaml $(BIN)/release/ && \
	cd $(BIN)/release && sha256sum * >SHA256SUMS && cat SHA256SUMS

.PHONY: set-version
set-version: ## Write VERSION into the chart, the manifests, and the documentation.
	@hack/release/set-version.sh "$(VERSION)"

.PHONY: release-check
release-check: ## Check that this commit can be released as VERSION: versions, changelog, branch.
	@hack/release/check.sh "$(VERSION)"

.PHONY: verify-reproducible
verify-reproducible: ## Build everything that is released twice, in different directories, and compare the bytes (IMAGES= leaves the images out).
	@ARCH="$(ARCH)" hack/release/reproduce.sh

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-scheduler, and kube-controller-manager once, outside the tree, and print where they are.
	@SCHEDULING=1 hack/controlplane/build.sh

.PHONY: demo
demo: ## Show the life of ENIs on three nodes, without AWS. KEEP=1 leaves the cluster running.
	@$(build_demo) && KUBEBUILDER_ASSETS=$$assets KEEP=$(KEEP) exec bin/demo -programs bin

build_demo = assets=$$(hack/controlplane/build.sh) && \
	echo "compiling; this takes minutes the first time, and seconds after that ..." && \
	$(MAKE) -s build && CGO_ENABLED=0 go build -trimpath -gcflags all=-l -o bin/demo ./hack/demo && \
	CGO_ENABLED=0 go build -modfile=hack/tools/cni-plugins/go.mod -o bin/cni/ tool && ln -f bin/eni-cni bin/cni/eni

.PHONY: pictures
pictures: ## Run the demo and draw docs/images from it: the terminal, and the dashboard with the demo's metrics.
	@$(build_demo) && go build -C hack/pictures -o ../../bin/pictures . && KUBEBUILDER_ASSETS=$$assets KEEP= bin/pictures

.PHONY: run-agent
run-agent: build ## Run a standalone agent of this tree on a simulated node, without AWS (AGENT_FLAGS, SIM_FLAGS).
	@AGENT_FLAGS='$(AGENT_FLAGS)' SIM_FLAGS='$(SIM_FLAGS)' hack/run-agent.sh

.PHONY: deploy
deploy: ## Build this tree and install it in the cluster of your kubeconfig. IMAGE_REPOSITORY=... pushes, LOAD="kind load image-archive" loads.
	@LOAD='$(LOAD)' HELM_FLAGS='$(HELM_FLAGS)' hack/deploy.sh

.PHONY: test
test: ## Run all tests, or PACKAGES=./agent TEST_FLAGS="-run X"; with -race where there is a C compiler.
	@assets=$$(SCHEDULING=1 hack/controlplane/build.sh); \
	race=-race; \
	if [ "$$(go env CGO_ENABLED)" != 1 ] || ! command -v $$(go env CC | cut -d' ' -f1) >/dev/null; then \
		race=; \
		echo "************************************************************************" >&2; \
		echo "* There is no C compiler (or CGO_ENABLED=0): running WITHOUT -race, so *" >&2; \
		echo "* data races go unnoticed. Install gcc to have them found.             *" >&2; \
		echo "************************************************************************" >&2; \
	fi; \
	echo "Tests of upgrades are skipped: 'make test-upgrade' builds the previous version and runs them." >&2; \
	echo "Tests with a kubelet are skipped: 'make test-kubelet' builds kubelet and containerd and runs them." >&2; \
	set -x; KUBEBUILDER_ASSETS=$${assets:?} go test $$race -p $(TEST_PARALLEL) -parallel $(TEST_SIDE_BY_SIDE) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(PACKAGES)

# What is tested with the oldest Kubernetes that is supported; it has no ENIs on demand.
COMPAT ?= ./api/... ./coordinator ./manifests ./manifests/node-readiness ./manifests/pods ./packaging/helm

.PHONY: test-compat
test-compat: ## Run the tests of COMPAT with the oldest supported kube-apiserver (which takes about 8 minutes to build, once).
	@assets=$$(OLDEST=1 hack/controlplane/build.sh) && \
	set -x && KUBEBUILDER_ASSETS=$$assets go test -p 1 -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(COMPAT)

# Tests of the packages that upgrade from the previous version, see hack/release/previous.
UPGRADE ?= ./e2e ./packaging/helm

.PHONY: test-upgrade
test-upgrade: ## Test upgrades from the previous version and rollbacks: programs, CRDs, chart, files on nodes (PREVIOUS=COMMIT uses another version).
	@assets=$$(hack/controlplane/build.sh) && previous=$$(PREVIOUS='$(PREVIOUS)' hack/release/previous.sh) && \
	set -x && ENI_PREVIOUS=$$previous KUBEBUILDER_ASSETS=$$assets go test -p 1 -parallel $(TEST_SIDE_BY_SIDE) -timeout $(TEST_TIMEOUT) -run Upgrade $(TEST_FLAGS) $(UPGRADE)

.PHONY: test-kubelet
test-kubelet: ## Test ENIs on demand in running pods, with kubelet, containerd, and runc, which it builds once. Needs root.
	@assets=$$(SCHEDULING=1 KUBELET=1 hack/controlplane/build.sh) && \
	set -x && ENI_KUBELET=1 KUBEBUILDER_ASSETS=$$assets go test -v -timeout $(TEST_TIMEOUT) -run TestKubelet $(TEST_FLAGS) ./e2e

# Benchmarks: each writes docs/benchmarks/NAME.json, and the page is made from all of
# them. A size or a count that misses its goal fails.
benchmarks := go footprint latency scale

.PHONY: bench
bench: ## Measure all figures again, on an otherwise idle machine, and write docs/benchmarks.md.
	@failed=; for name in $(benchmarks); do $(MAKE) bench-$$name || failed="$$failed $$name"; done; \
	[ -z "$$failed" ] || { echo "these benchmarks failed, or missed a goal:$$failed" >&2; exit 1; }

.PHONY: bench-report
bench-report: ## Write docs/benchmarks.md from docs/benchmarks/*.json.
	@go run ./hack/bench/report

# run_benchmark runs hack/bench/NAME with flags; it may miss a goal. Then it makes the page.
run_benchmark = assets=$$(hack/controlplane/build.sh) && mkdir -p bin/bench && \
	CGO_ENABLED=0 go build -trimpath -o bin/bench/$(1) ./hack/bench/$(1) && \
	{ KUBEBUILDER_ASSETS=$$assets bin/bench/$(1) $(2); status=$$?; } && \
	{ [ ! -f docs/benchmarks/$(1).json ] || $(MAKE) bench-report; } && exit $$status

.PHONY: bench-footprint
bench-footprint: binaries ## Measure sizes, idle memory and CPU, startup, and connections, with up to 15 ENIs on a node.
	@$(call run_benchmark,footprint)

.PHONY: bench-go
bench-go: ## Run the Go benchmarks: time, bytes, and allocations of frequent operations.
	@$(call run_benchmark,go)

.PHONY: bench-latency
bench-latency: build ## Measure p50 and p99 from label to Ready, from hot-plug to configured, and of repairs (25 min). SHORT=1 is a quick run without a report.
	@$(call run_benchmark,latency,$(if $(SHORT),-short))

.PHONY: bench-scale
bench-scale: build ## Measure fleets of 10 to 5,000 nodes under EC2's limits (95 min). SIZES=250,1000x2 measures other sizes, without a report.
	@$(call run_benchmark,scale)

.PHONY: bench-ondemand
bench-ondemand: build ## Measure ENIs on demand on 1,000 nodes: slices, requests, and waves of pods (15 min). NODES=100 PODS=50 measures another size, without a report.
	@export SCHEDULING=1; $(call run_benchmark,ondemand)

# Tests of e2e, as a regular expression.
TORTURE ?= Test.*(Property|EveryCall|AtEveryStep)

.PHONY: torture
torture: ## Run agents and coordinators hundreds of times under random faults (RUNS, OPS). SEED=n repeats a run, TORTURE=TestX runs only that test.
	@RUNS='$(RUNS)' SEED='$(SEED)' OPS='$(OPS)' CLUSTERS='$(CLUSTERS)' AT_ONCE='$(AT_ONCE)' TORTURE='$(TORTURE)' hack/torture/run.sh

.PHONY: fuzz
fuzz: ## Run each fuzz test, or those that match FUZZ, for FUZZTIME (1m). Their seeds are part of make test.
	@FUZZTIME="$(FUZZTIME)" FUZZ="$(FUZZ)" hack/fuzz.sh

.PHONY: licences
licences: ## List the modules that the programs link, with their licenses, in docs/dependencies.md.
	@$(licences) >docs/dependencies.md.new && mv docs/dependencies.md.new docs/dependencies.md || { rm -f docs/dependencies.md.new; exit 1; }

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the programs call. VULNDB=https://vuln.go.dev uses today's database.
	@VULNDB="$(VULNDB)" hack/vulncheck.sh

.PHONY: generate
generate: build licences ## Generate CRDs and deep copies from the Go types, docs/configuration.md, docs/cli.md, docs/dependencies.md, and the chart's copies of manifests/.
	$(controller_gen) object paths=./api/...
	$(controller_gen) object paths=./internal/kube/...
	$(controller_gen) crd paths=./api/... output:crd:dir=manifests/crds
	go run ./hack/docs -programs bin
	@$(call copy_chart_files,$(chart)/files)

.PHONY: verify-generate
verify-generate: build ## Fail if generated code or a generated page is stale.
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(controller_gen) object paths=./api/... output:object:dir="$$fresh/api" && \
	$(controller_gen) object paths=./internal/kube/... output:object:dir="$$fresh/kube" && \
	$(controller_gen) crd paths=./api/... output:crd:dir="$$fresh/crds" && \
	diff -u api/v1alpha1/zz_generated.deepcopy.go "$$fresh/api/zz_generated.deepcopy.go" && \
	diff -u internal/kube/zz_generated.deepcopy.go "$$fresh/kube/zz_generated.deepcopy.go" && \
	diff -ru manifests/crds "$$fresh/crds" && \
	($(call copy_chart_files,"$$fresh/chart")) && diff -ru $(chart)/files "$$fresh/chart" || \
	{ echo "generated code is stale: run 'make generate' and commit what it changes" >&2; exit 1; }
	@go run ./hack/docs -programs bin -check
	@$(licences) | diff -u docs/dependencies.md - || { echo "docs/dependencies.md is stale: run 'make licences' and commit what it changes" >&2; exit 1; }

.PHONY: fmt
fmt: ## Format the Go code.
	gofmt -w .

.PHONY: verify-fmt
verify-fmt: ## Fail if Go code is not formatted.
	@unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || \
	{ echo "not formatted, run 'make fmt':" >&2; echo "$$unformatted" >&2; exit 1; }

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: lint
lint: ## Run golangci-lint, in a pinned version that is built from its module (a few minutes, once).
	$(golangci_lint) run ./...
