# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The simulators stay out of a production image.
RUN cargo build --release --locked --no-default-features \
    && install -D target/release/consentd /out/consentd \
    && install -d -m 0700 /out/state

FROM debian:bookworm-slim
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 consentd \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin consentd
COPY --from=build /out/consentd /usr/local/bin/consentd
# A new volume takes over owner and mode of the folder it is mounted on.
COPY --from=build --chown=10001:10001 --chmod=0700 /out/state /var/lib/consentd
USER 10001:10001
VOLUME /var/lib/consentd
EXPOSE 8480
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/consentd", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/consentd"]
CMD ["run", "--config", "/etc/consentd/consentd.toml"]
