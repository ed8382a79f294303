# The official image of Postgres with walia: docker build --build-arg PG_MAJOR=18 -t walia .
ARG PG_MAJOR=18
ARG DEBIAN=bookworm

FROM rust:1.89-slim-$DEBIAN AS rust

FROM postgres:$PG_MAJOR-$DEBIAN AS build
ARG PG_MAJOR
# Any patch level of the headers that the image's own repository has will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libclang-dev make postgresql-server-dev-"$PG_MAJOR" python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
WORKDIR /walia
COPY . .
RUN LIBCLANG_PATH=$(dirname "$(find /usr/lib -name libclang.so -print -quit)") \
    && export LIBCLANG_PATH \
    && make install DESTDIR=/installed PG_CONFIG=/usr/lib/postgresql/"$PG_MAJOR"/bin/pg_config

FROM postgres:$PG_MAJOR-$DEBIAN
COPY --from=build /installed /
