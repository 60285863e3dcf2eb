# Two stages: wheels are built in the first, the second has no compiler and no package manager's cache.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ussd_app ussd_app
COPY menus menus
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home ussd
COPY --from=build /app /app
# What is written goes to volumes: the file system may be read-only, and PROMETHEUS_MULTIPROC_DIR a tmpfs.
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER ussd
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["ussd-app", "serve", "--host", "0.0.0.0", "--workers", "2"]
