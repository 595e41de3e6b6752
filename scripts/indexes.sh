# Sourced by the set-ups: hands the indexes and the certificate of pip's configuration, which uv does not
# read, on to uv. UV_* of the caller win.
pip_settings=$(.venv/bin/python -m pip config list)
hand_on() {  # a setting of pip to the variable that uv reads
  local section value
  for section in :env: install global; do
    value=$(sed -nE "s/^$section\.$1='(.*)'\$/\1/p" <<< "$pip_settings" | sed -E 's/(\\n| )+/ /g; s/^ //')
    if [ -n "$value" ]; then export "$2=$value"; return; fi
  done
}
if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ]; then
  hand_on index-url UV_DEFAULT_INDEX
  hand_on extra-index-url UV_INDEX
fi
[ -n "${SSL_CERT_FILE:-}" ] || hand_on cert SSL_CERT_FILE
# As with pip, any index may serve a file: the hashes say whether it is the right one.
export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}
