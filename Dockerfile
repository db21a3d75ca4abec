# mmtrt beside NVIDIA's TensorRT: convert, build with trtexec or the Python bindings, run.
#   docker build -t mmtrt .
#   docker run --rm --gpus all -v "$PWD":/work -v "$HOME/.cache/huggingface":/home/mmtrt/.cache/huggingface \
#     mmtrt convert llava-hf/llava-1.5-7b-hf --output_dir checkpoint
# Files are written as user 1000; add --user "$(id -u):$(id -g)" for another one.
# TensorRT of another release: --build-arg TENSORRT=<tag of nvcr.io/nvidia/tensorrt>.
ARG NODE=20.19-bookworm-slim
ARG TENSORRT=25.10-py3

FROM node:${NODE} AS package
WORKDIR /src
# onnxruntime-node's CPU library is in its package; its install script would download CUDA's.
ENV ONNXRUNTIME_NODE_INSTALL=skip
# The layer with the packages stays as long as the lockfile does.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build \
 && npm pack --ignore-scripts --pack-destination /tmp \
 && npm install --global --prefix /opt/mmtrt --no-audit --no-fund /tmp/mmtrt-*.tgz

FROM nvcr.io/nvidia/tensorrt:${TENSORRT}
# Node.js alone, from the official image: it needs no more than glibc 2.28.
COPY --from=package /usr/local/bin/node /usr/local/bin/node
COPY --from=package /opt/mmtrt /opt/mmtrt
# trtexec is not on PATH in every release of the image.
ENV PATH=/opt/mmtrt/bin:/opt/tensorrt/bin:/usr/src/tensorrt/bin:${PATH}
# Ubuntu's own user 1000, where the release has one, makes room.
RUN (userdel --remove ubuntu 2>/dev/null || true) \
 && useradd --create-home --uid 1000 mmtrt \
 && mkdir -p /work /home/mmtrt/.cache/huggingface \
 && chown -R mmtrt:mmtrt /work /home/mmtrt \
 && mmtrt --version
USER mmtrt
WORKDIR /work
# Not NVIDIA's entry point: its banner would be in front of --json.
ENTRYPOINT ["mmtrt"]
CMD ["--help"]
