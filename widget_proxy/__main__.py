from widget_proxy.cli import main

main()
