from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0002_append_only'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditevent',
            name='event_type',
            field=models.CharField(choices=[('ingestion_baseline', 'First ingestion'), ('ingestion_completed', 'Ingestion completed'), ('ingestion_failed', 'Ingestion failed'), ('po_line_created', 'Line created'), ('po_line_returned', 'Line returned'), ('po_line_left', 'Line left'), ('ingestion_change', 'Changed in the ERP'), ('xref_gap', 'Item code without cross-reference'), ('xref_applied', 'Cross-reference applied'), ('xref_imported', 'Cross-reference imported'), ('supplier_renamed', 'Supplier renamed'), ('custom_column_configured', 'Custom column configured'), ('snapshots_pruned', 'Snapshots pruned'), ('database_restored', 'Database restored')], max_length=40),
        ),
    ]
