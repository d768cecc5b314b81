"$kt" teams create --data-dir "$governed_data" --name load --models 'gpt-*' \
    --rpm 1000000000 --budget 1000000usd/month >/dev/null
key[governed]=$(make_key governed load --team load --models 'gpt-4o*' --endpoints 'chat/*' --expires 90d \
    --rpm 1000000000 --tpm 1000000000000 --concurrency 10000 --budget 1000000usd/month)
