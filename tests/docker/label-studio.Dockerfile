# The parts of heartexlabs/label-studio that the tests need: the same version, port, data folder and user.
FROM python:3.11-slim-bookworm
ARG PIP_INDEX_URL=""
RUN pip install --no-cache-dir label-studio==1.23.2
RUN useradd --uid 1001 --create-home --home-dir /label-studio studio && mkdir /label-studio/data && chown studio: /label-studio/data
ENV LABEL_STUDIO_BASE_DATA_DIR=/label-studio/data
USER studio
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "-p", "8080"]
