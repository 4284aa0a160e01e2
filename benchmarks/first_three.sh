#!/usr/bin/env bash
# The three first experiments on both data sets, one after the other; what is done is not done again.
#   benchmarks/first_three.sh CINC2019 CGM_LONG.csv.gz [further options of `loracast run`, e.g. --jobs 2]
set -euo pipefail
cinc=$1 cgm=$2
shift 2
[ -f runs/shanghai-cgm.parquet ] || loracast data table "$cgm" --grid 15min --value cgm_mgdl --signal glucose \
    --licence "CC BY 4.0" --out runs/shanghai-cgm.parquet
for experiment in rank-sweep full-against-lora cross-model; do
    loracast run "first-three/$experiment-cinc2019" --data "$cinc" --out "runs/$experiment-cinc2019" --resume "$@"
    loracast run "first-three/$experiment-shanghai-cgm" --data runs/shanghai-cgm.parquet \
        --out "runs/$experiment-shanghai-cgm" --resume "$@"
done
loracast sweep relate runs/rank-sweep-cinc2019 runs/rank-sweep-shanghai-cgm --out runs/thresholds.json --overwrite
