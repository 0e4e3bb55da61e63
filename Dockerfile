# The locked environment: docker build -t repro . && docker run --rm -it --shm-size 2g -p 8888:8888 repro
FROM python:3.12-bookworm
WORKDIR /repro
COPY . .
RUN .ci/setup
EXPOSE 8888
CMD [".venv/bin/jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--allow-root", "notebooks"]
