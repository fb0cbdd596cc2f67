# seq2seq serve, on the CPU, as a user without rights. docs/serving.md says how to build and run it.
FROM python:3.11-slim

# an index of CPU builds of torch saves gigabytes; without it, pip's own
ARG TORCH_INDEX=
WORKDIR /app
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--no-deps --index-url $TORCH_INDEX} torch==2.13.0

COPY pyproject.toml README.md LICENSE ./
COPY seq2seq seq2seq
RUN pip install --no-cache-dir --constraint constraints.txt ".[serve]" && useradd --no-create-home translator
USER translator

EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
  ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
ENTRYPOINT ["seq2seq", "serve", "--host", "0.0.0.0", "--port", "5000"]
