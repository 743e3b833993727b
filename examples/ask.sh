#!/bin/sh
# Asks a running service about one picture or cloud, with curl.
#
#   examples/ask.sh "What is this?" FILE
#
# The service is at $LAMM_URL (http://127.0.0.1:8000 when unset), the model is $LAMM_MODEL
# (lamm-mini when unset); $LAMM_API_KEY is sent if it is set.
set -eu

question=${1:?"usage: $0 QUESTION FILE"}
file=${2:?"usage: $0 QUESTION FILE"}
url=${LAMM_URL:-http://127.0.0.1:8000}
model=${LAMM_MODEL:-lamm-mini}
suffix=${file##*.}
data=$(base64 < "$file" | tr -d '\n')

case $suffix in
asc | bin | csv | e57 | glb | gltf | las | laz | npy | npz | obj | off | pcd | ply | pts | stl | txt | xyz | xyzn | xyzrgb)
    part='{"type": "point_cloud_url", "point_cloud_url": {"format": "'$suffix'",
           "url": "data:application/octet-stream;base64,'$data'"}}' ;;
*)
    part='{"type": "image_url", "image_url": {"url": "data:image/'$suffix';base64,'$data'"}}' ;;
esac

# Through stdin: a command line has no room for a picture. The question must not hold quotes.
printf '{"model": "%s", "messages": [{"role": "user", "content": [%s, {"type": "text", "text": "%s"}]}]}' \
    "$model" "$part" "$question" |
    curl --silent --show-error --header 'Content-Type: application/json' \
        --header "Authorization: Bearer ${LAMM_API_KEY:-none}" \
        --data-binary @- "$url/v1/chat/completions"
echo
