# Two images, each with static programs and nothing else: no shell, no
# libraries, no base image to pull or to patch. `make image` compiles the programs
# into bin/linux-ARCH first; the CA roots that TLS needs are linked into them.

FROM scratch AS coordinator
ARG TARGETARCH
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="eni-coordinator" \
      org.opencontainers.image.description="aws-multi-eni: collects the ENIs that nodes and NodeENIs left over" \
      org.opencontainers.image.url="https://github.com/aws-multi-eni/aws-multi-eni" \
      org.opencontainers.image.source="https://github.com/aws-multi-eni/aws-multi-eni" \
      org.opencontainers.image.documentation="https://github.com/aws-multi-eni/aws-multi-eni/tree/main/docs" \
      org.opencontainers.image.vendor="aws-multi-eni" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --chmod=0755 bin/linux-${TARGETARCH}/eni-coordinator /eni-coordinator
COPY --chmod=0644 bin/linux-${TARGETARCH}/eni-coordinator.THIRD-PARTY-LICENSES /licenses/THIRD-PARTY-LICENSES
COPY --chmod=0644 LICENSE /licenses/LICENSE
# By number, so that the kubelet can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/eni-coordinator"]

FROM scratch AS agent
ARG TARGETARCH
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="eni-agent" \
      org.opencontainers.image.description="aws-multi-eni: gives the node that it runs on its ENIs" \
      org.opencontainers.image.url="https://github.com/aws-multi-eni/aws-multi-eni" \
      org.opencontainers.image.source="https://github.com/aws-multi-eni/aws-multi-eni" \
      org.opencontainers.image.documentation="https://github.com/aws-multi-eni/aws-multi-eni/tree/main/docs" \
      org.opencontainers.image.vendor="aws-multi-eni" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --chmod=0755 bin/linux-${TARGETARCH}/eni-agent /eni-agent
COPY --chmod=0644 bin/linux-${TARGETARCH}/eni-agent.THIRD-PARTY-LICENSES /licenses/THIRD-PARTY-LICENSES
COPY --chmod=0644 LICENSE /licenses/LICENSE
# The CNI plugin, which `eni-agent install-cni` copies onto the host.
COPY --chmod=0755 bin/linux-${TARGETARCH}/eni-cni /eni
COPY --chmod=0644 bin/linux-${TARGETARCH}/eni-cni.THIRD-PARTY-LICENSES /licenses/eni-cni.THIRD-PARTY-LICENSES
# The DRA plugin, which runs in a container of its own where ENIs on demand are enabled.
COPY --chmod=0755 bin/linux-${TARGETARCH}/eni-dra /eni-dra
COPY --chmod=0644 bin/linux-${TARGETARCH}/eni-dra.THIRD-PARTY-LICENSES /licenses/eni-dra.THIRD-PARTY-LICENSES
# The agent needs one capability, NET_ADMIN. Kubernetes has no ambient
# capabilities: what a pod adds is effective for uid 0 only. So uid 0 it is, with
# every other capability dropped and a read-only root file system.
USER 0:0
ENTRYPOINT ["/eni-agent"]
